import type { Test } from 'tap'
import type { Content } from '../../../src/content/content.ts'
import * as keys from '../../../src/content/keys.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import type { DamageEvent, ScrubDone, ScrubEvent, WarningEvent } from '../../../src/operations/events.ts'
import { type ScrubOptions, scrub } from '../../../src/operations/scrub.ts'
import type { Tree } from '../../../src/operations/tree.ts'
import type { OpenObject, Storage } from '../../../storage/storage.ts'
import { imageOf, named, neverAborted, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'

/** The repository of these tests. */
export const name = named('app/one')

/** An empty tree, or that of a storage. */
export async function treeFor(t: Test, storage?: Storage): Promise<Tree> {
  const opened = await openFor(t, storage)
  return { content: opened.content, storage: opened.storage, uploadIdleMs: 60_000, now: Date.now }
}

/** Pushes an image of a config and a layer. */
export async function pushImage(
  content: Content,
  tag = 'v1',
  { at = name, more = {} }: { at?: typeof name; more?: Record<string, unknown> } = {}
) {
  const [config, layer] = [`config of ${tag}`, `layer of ${tag}`.repeat(1000)]
  const digests = { config: await pushBlob(content, at, config), layer: await pushBlob(content, at, layer) }
  const bytes = imageOf(config, [layer], more)
  return { ...digests, bytes, manifest: await storeManifest(content, at, bytes, { tags: [tagged(tag)] }) }
}

/** Changes one byte of what is stored, as a disk would. */
export async function flip(storage: Storage, digest: Digest): Promise<void> {
  const bytes = await storage.get(keys.blob(digest), Number.MAX_SAFE_INTEGER)
  if (!bytes) throw new Error(`${digest} is not stored`)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  await storage.put(keys.blob(digest), bytes)
}

/** Removes the last byte of what is stored. */
export async function truncate(storage: Storage, digest: Digest): Promise<void> {
  const bytes = await storage.get(keys.blob(digest), Number.MAX_SAFE_INTEGER)
  await storage.put(keys.blob(digest), bytes?.subarray(0, bytes.length - 1) ?? Buffer.alloc(0))
}

/** The events of a scrub. */
export async function eventsOf(tree: Tree, options: Partial<ScrubOptions> = {}): Promise<ScrubEvent[]> {
  return Array.fromAsync(scrub(tree, { signal: neverAborted, ...options }))
}

/** The findings of a scrub, and its totals. */
export async function found(
  tree: Tree,
  options: Partial<ScrubOptions> = {}
): Promise<{ damaged: DamageEvent[]; warnings: WarningEvent[]; done: ScrubDone }> {
  const events = await eventsOf(tree, options)
  const done = events.at(-1)
  if (done?.type !== 'done') throw new Error('it did not end')
  return { damaged: events.filter(each => each.type === 'damaged'), warnings: events.filter(each => each.type === 'warning'), done }
}

/** A storage that calls `read` before each read of an object; what it throws is the I/O error of that read. */
export function readingStorage(storage: Storage, read: (key: string, position: number) => void | Promise<void>): Storage {
  const watched = (key: string, object: OpenObject): OpenObject => ({
    size: object.size,
    modified: object.modified,
    readInto: async (into, position) => {
      await read(key, position)
      return object.readInto(into, position)
    },
    close: () => object.close()
  })
  return new Proxy(storage, {
    get(target, property) {
      if (property === 'open')
        return async (key: string) => {
          const object = await target.open(key)
          return object && watched(key, object)
        }
      const value = Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}
