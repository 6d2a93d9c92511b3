import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Answer, ask, filesBelow, metric } from '../src/support.ts'
import { media, type Narrow } from '../support/narrow.ts'
import type { Changeable } from './scene.ts'

/** Room for an attempt that has all it needs, and for all that a test prepares, or that was refused and is done again. */
export const plenty = 300
export const enough = 900
// No path needs so many; one that is never done is a fault.
const most = 120

/** One test on each disk of a kind that can be mounted here; others are passed over with the reason. */
export function onNarrow(
  t: Test,
  name: string,
  body: (t: Test, disk: Narrow) => Promise<void>,
  kinds: (medium: string) => boolean = () => true
): void {
  for (const [medium, mount] of Object.entries(media).filter(([medium]) => kinds(medium))) {
    t.test(`${name}: ${medium}`, async t => {
      const disk = await mount(t)
      if (typeof disk === 'string') return void t.pass('mount', { skip: disk })
      disk.leave(enough)
      await body(t, disk)
    })
  }
}

/** On an ext4 each fsync takes its time. */
export const onTmpfs = (medium: string): boolean => medium.endsWith('tmpfs')

/** Runs `attempt` with room for nothing, then for one block or inode more each time, until it resolves to true. */
export async function withEachRoom(t: Test, disk: Narrow, attempt: (rooms: number) => Promise<boolean>): Promise<void> {
  for (let rooms = 0; rooms < most; rooms++) {
    if (await attempt(rooms)) return void t.pass(`${rooms} are enough`)
    disk.leave(plenty)
  }
  t.fail(`${most} are not enough`)
}

/** What clients were promised: by path, the bytes that they have to get. */
export type Promised = Map<string, string | Uint8Array>

export async function allThere(t: Test, { listen }: Pick<Changeable, 'listen'>, promised: Promised): Promise<void> {
  const lost: string[] = []
  for (const [path, bytes] of promised) {
    const { status, body } = await ask(listen, 'GET', path)
    if (status !== 200 || !body.equals(Buffer.from(bytes))) lost.push(`${status} ${path}`)
  }
  t.strictSame(lost, [], `all of ${promised.size} are there`)
}

/** What is counted is what there is, and nothing is left of what failed but sessions. */
export async function isInOrder(t: Test, served: Changeable): Promise<void> {
  const entries = await readdir(served.root, { recursive: true, withFileTypes: true })
  let [bytes, inodes] = [0, 0]
  const left: string[] = []
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name)
    if (entry.parentPath === join(served.root, '.registry') && uncounted.has(entry.name)) continue
    if (!entry.isSocket()) inodes++
    if (!entry.isFile()) continue
    bytes += (await stat(path)).size
    if (path.startsWith(join(served.root, '.registry/tmp'))) left.push(path)
  }
  t.strictSame(left, [])
  t.strictSame([await metric(served, 'registry_storage_used_bytes'), await metric(served, 'registry_storage_used_inodes')], [bytes, inodes])
  t.strictSame(served.logged('stored content is damaged'), [])
}

// The keeping of the store itself.
const uncounted = new Set(['lock', 'owner', 'account', 'trial'])

/** Whether nothing is left of any upload session. */
export async function noSession(root: string): Promise<boolean> {
  // What goes while it is looked at is not gone yet.
  const files = await filesBelow(root).catch(() => undefined)
  return files !== undefined && !files.some(each => each.includes('/_uploads/'))
}

/** `done` where there was room, else 507. */
export function isDone(t: Test, { status, body }: Answer, done: number): boolean {
  if (status === done) return true
  if (status !== 507) t.fail(`${status}: ${body}`)
  return false
}
