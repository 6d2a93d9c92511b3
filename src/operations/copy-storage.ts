import type { Key, ObjectStat, OpenObject, Storage } from '../../storage/storage.ts'
import * as keys from '../content/keys.ts'
import { algorithmOf, createDigester, type Digest } from '../oci/digest.ts'
import { atMostEvery, type Progressed } from './events.ts'

/** An object whose bytes are not what they should be; it is not copied. */
export interface DamagedObject {
  type: 'damaged'
  key: Key
  reason: string
}

/** The end of a copy: how much was copied, and how much was there already. */
export interface StorageCopyDone {
  type: 'done'
  copied: number
  bytes: number
  present: number
  damaged: number
}

// Small objects side by side; blobs one after another, since each moves as fast as it goes.
const atOnce = 16
const progressInterval = 500
const piece = 1024 * 1024
const longestLink = 4 * 1024 * 1024
/** What a copy tells. */
export type StorageCopyEvent = DamagedObject | Progressed | StorageCopyDone

/**
 * Copies what a registry keeps: blobs first, then links, then tags, then the marks of what was cached. So whatever can be found in the target can be read there, however the copy ends.
 * Blobs are verified by their digest on the way, all else is compared. What is there with the same size is passed over, a link by its bytes.
 */
export async function* copyStorage(from: Storage, to: Storage, signal: AbortSignal): AsyncGenerator<StorageCopyEvent, void> {
  const run = new Copy(from, to, signal)
  await run.sweep()
  yield* run.blobs()
  // A tag names a manifest that has to be there before it.
  yield* run.rest(keys.repositories, key => !isTag(key) && !isSession(key))
  yield* run.rest(keys.repositories, isTag)
  // The rest of what is only ours belongs to one place. Without its mark content counts as pushed, which keeps it.
  yield* run.rest(keys.provenance, () => true)
  yield { type: 'done', ...run.totals }
}

const isTag = (key: Key) => key.includes('/_manifests/tags/')
const isSession = (key: Key) => key.includes('/_uploads/')

class Copy {
  readonly totals = { copied: 0, bytes: 0, present: 0, damaged: 0 }
  readonly #from: Storage
  readonly #to: Storage
  readonly #signal: AbortSignal
  readonly #due = atMostEvery(progressInterval, Date.now)
  readonly #buffer = Buffer.allocUnsafe(piece)
  #done = 0
  #total = 0

  constructor(from: Storage, to: Storage, signal: AbortSignal) {
    this.#from = from
    this.#to = to
    this.#signal = signal
  }

  /** Removes what an earlier copy that was broken off could not. */
  async sweep(): Promise<void> {
    const left: Key[] = []
    for await (const { key } of this.#to.list(keys.temporary)) if (key.startsWith(`${keys.temporary}/copy-`)) left.push(key)
    await this.#to.remove(left)
  }

  async *blobs(): AsyncGenerator<DamagedObject | Progressed> {
    for await (const { size } of this.#from.list(keys.blobs)) this.#total += size
    const there = new Ahead(this.#to.list(keys.blobs))
    for await (const { key, size } of this.#from.list(keys.blobs)) {
      this.#signal.throwIfAborted()
      const digest = keys.digestOfBlob(key)
      if (digest === undefined) continue
      // Published whole or not at all, and with the digest that it has.
      if ((await there.find(key))?.size === size) this.totals.present++
      else {
        const damage = await this.#blob(key, digest)
        if (damage) yield damage
      }
      this.#done += size
      if (this.#due()) yield this.#progress()
    }
    yield this.#progress()
  }

  #progress(): Progressed {
    return { type: 'progress', done: this.#done, total: this.#total, unit: 'bytes' }
  }

  async #blob(key: Key, digest: Digest): Promise<DamagedObject | undefined> {
    const object = await this.#from.open(key)
    // Removed since it was listed: whatever led to it is gone as well, or is damaged there too.
    if (!object) return undefined
    try {
      return await this.#whole(object, key, digest)
    } finally {
      await object.close()
    }
  }

  async #whole(object: OpenObject, key: Key, digest: Digest): Promise<DamagedObject | undefined> {
    // No two copies write to a storage at once.
    const staged = await this.#to.create(`${keys.temporary}/copy-${digest.replace(':', '-')}`)
    try {
      const digester = createDigester(algorithmOf(digest))
      for (let at = 0; ; ) {
        this.#signal.throwIfAborted()
        const length = await object.readInto(this.#buffer, at)
        if (length === 0) break
        const bytes = this.#buffer.subarray(0, length)
        digester.update(bytes)
        await staged.write([bytes], this.#signal)
        at += length
      }
      const actual = digester.digest()
      if (actual !== digest) {
        await staged.discard()
        this.totals.damaged++
        return { type: 'damaged', key, reason: `its bytes are those of ${actual}; it is not copied` }
      }
      const size = staged.offset
      await staged.publish(key)
      this.totals.copied++
      this.totals.bytes += size
      return undefined
    } catch (error) {
      await staged.discard().catch(() => {})
      throw error
    }
  }

  async *rest(prefix: Key, wanted: (key: Key) => boolean): AsyncGenerator<Progressed> {
    const there = new Ahead(this.#to.list(prefix))
    const batch: [key: Key, there: ObjectStat | undefined][] = []
    for await (const { key } of this.#from.list(prefix)) {
      this.#signal.throwIfAborted()
      if (!wanted(key) || batch.push([key, await there.find(key)]) < atOnce) continue
      await this.#all(batch.splice(0))
      if (this.#due()) yield this.#progress()
    }
    await this.#all(batch)
  }

  // Resolves when nothing of it runs any more.
  async #all(batch: readonly [Key, ObjectStat | undefined][]): Promise<void> {
    const results = await Promise.allSettled(batch.map(each => this.#small(...each)))
    const failed = results.find(each => each.status === 'rejected')
    if (failed) throw failed.reason
  }

  // Links may change while they are copied; what lies there afterwards is what was read.
  async #small(key: Key, there: ObjectStat | undefined): Promise<void> {
    const bytes = await this.#from.get(key, longestLink)
    if (!bytes) return
    if (there?.size === bytes.length && (await this.#to.get(key, longestLink))?.equals(bytes)) {
      this.totals.present++
      return
    }
    await this.#to.put(key, bytes)
    this.totals.copied++
    this.totals.bytes += bytes.length
  }
}

// Goes along a listing beside another one that has the same order.
class Ahead {
  readonly #objects: AsyncIterator<ObjectStat>
  #next: IteratorResult<ObjectStat> | undefined

  constructor(objects: AsyncIterable<ObjectStat>) {
    this.#objects = objects[Symbol.asyncIterator]()
  }

  /** The object under `key`, which comes after those that were asked for before. */
  async find(key: Key): Promise<ObjectStat | undefined> {
    this.#next ??= await this.#objects.next()
    while (!this.#next.done && this.#next.value.key < key) this.#next = await this.#objects.next()
    return !this.#next.done && this.#next.value.key === key ? this.#next.value : undefined
  }
}
