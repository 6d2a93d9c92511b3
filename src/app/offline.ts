import { stat } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { LockedError } from '../../storage/fs/lock.ts'
import { openContent } from '../content/content.ts'
import { collect } from '../content/gc/collect.ts'
import { createYield } from '../content/gc/yield.ts'
import { createTasks } from '../operations/operations.ts'
import { loadScrubPosition, saveScrubPosition } from '../operations/scrub-position.ts'
import type { Operations } from '../ports/operations.ts'
import { openStorage } from './open-storage.ts'

/** A tree that no server owns, for as long as a command works on it. */
export interface Offline {
  tasks: Operations
  status(): Promise<object>
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Takes the storage of a configuration into possession, as far as it has an owner; an error says what to do. Nothing is created that was not there. */
export async function openOffline(config: Config): Promise<Offline> {
  const without = `no registry is running behind ${config.server.control}`
  if (!config.storage.s3) await checkOwner(config.storage.filesystem.root, without)
  const say = (_fields: object | string, text?: string) => void process.stderr.write(`${text ?? ''}\n`)
  const { storage, location } = await openStorage(config, { warn: say, error: say, info: say }, { writing: undefined }).catch(error => {
    throw error instanceof LockedError ? new Error(`${error.message}, but ${without}: is server.control the same there?`) : error
  })
  const content = openContent(storage, () => {})
  await content.quarantine.load()
  const tree = { content, storage, uploadIdleMs: config.limits.uploadIdle, now: Date.now }
  const own = createTasks({
    tree,
    scrubbed: async (began, { damaged, mended }) => {
      const { round } = await loadScrubPosition(storage)
      await saveScrubPosition(storage, { ...(round && { round }), last: { began, ended: Date.now(), damaged: damaged - mended } })
    }
  })
  const loose = config.registry.mode === 'Proxy' ? 'keep' : 'sweep'
  const tasks: Operations = {
    ...own,
    // What was cached expires only where an upstream can be asked, which is in a running process.
    gc: ({ dryRun, signal }) =>
      collect(storage, content, {
        ...config.gc,
        unreferencedCached: loose,
        pace: createYield(signal, () => false),
        ...(dryRun ? { dryRun } : {})
      })
  }
  return {
    tasks,
    status: async () => {
      const damages = content.quarantine.list()
      return {
        running: false,
        storage: { ...location, ...(await storage.usage()) },
        scrub: { ...(await loadScrubPosition(storage)), damaged: damages.length, quarantinedBytes: content.quarantine.bytes, damages }
      }
    },
    close: () => storage.close(),
    [Symbol.asyncDispose]: () => storage.close()
  }
}

async function checkOwner(root: string, without: string): Promise<void> {
  const found = await stat(root).catch(() => undefined)
  if (!found?.isDirectory()) throw new Error(`${without}, and there is no directory ${root}`)
  // What root leaves behind the owner could not write any more.
  if (process.getuid?.() === 0 && found.uid !== 0)
    throw new Error(`${without}; to work on ${root} without one, run this as its owner, uid ${found.uid}`)
}
