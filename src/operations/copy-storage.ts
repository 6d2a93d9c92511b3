import type { Key, ObjectStat, OpenObject, Storage } from '../../storage/storage.ts'
import * as keys from '../content/keys.ts'
import { algorithmOf, createDigester, type Digest } from '../oci/digest.ts'
import { atMostEvery, type OperationProgress } from './events.ts'

/** A blob whose bytes do not have its digest; it is not copied. */
export interface DamagedObject {
  type: 'damaged'
  key: Key
  reason: string
}

/** The end of a copy: how much was copied, and how much was there before. */
export interface StorageCopyDone {
  type: 'done'
  copied: number
  bytes: number
  present: number
  damaged: number
}

// Small objects are copied in batches, blobs one after another, since one alone takes all the bandwidth.
const batchSize = 16
const progressIntervalMs = 500
const bufferBytes = 1024 * 1024
const maxLinkBytes = 4 * 1024 * 1024

/** What a copy reports. */
export type StorageCopyEvent = DamagedObject | OperationProgress | StorageCopyDone

/**
 * Copies the content of a registry: blobs first, then links, then tags, then provenance records. So what a link of the
 * target leads to is there, however the copy ends. Blobs are verified on the way. A blob that is there with the same
 * size is passed over, another object if its bytes are the same.
 */
export async function* copyStorage(from: Storage, to: Storage, signal: AbortSignal): AsyncGenerator<StorageCopyEvent, void> {
  const run = new Copy(from, to, signal)
  await run.sweep()
  yield* run.blobs()
  // A tag refers to a manifest, which has to be there first.
  yield* run.rest(keys.repositories, key => !isTag(key) && !isSession(key))
  yield* run.rest(keys.repositories, isTag)
  // All else below .registry/ belongs to one storage. Content without its provenance record counts as pushed, which is
  // never evicted.
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
  readonly #progressIsDue = atMostEvery(progressIntervalMs, Date.now)
  readonly #buffer = Buffer.allocUnsafe(bufferBytes)
  #done = 0
  #total = 0

  constructor(from: Storage, to: Storage, signal: AbortSignal) {
    this.#from = from
    this.#to = to
    this.#signal = signal
  }

  /** Removes the temp files of an interrupted copy. */
  async sweep(): Promise<void> {
    const left: Key[] = []
    for await (const { key } of this.#to.list(keys.temporary)) if (key.startsWith(`${keys.temporary}/copy-`)) left.push(key)
    await this.#to.remove(left)
  }

  async *blobs(): AsyncGenerator<DamagedObject | OperationProgress> {
    for await (const { size } of this.#from.list(keys.blobs)) this.#total += size
    const present = new MergeCursor(this.#to.list(keys.blobs))
    for await (const { key, size } of this.#from.list(keys.blobs)) {
      this.#signal.throwIfAborted()
      const digest = keys.digestOfBlob(key)
      if (digest === undefined) continue
      // A blob is published whole, under its digest, or not at all.
      if ((await present.find(key))?.size === size) this.totals.present++
      else {
        const damage = await this.#copyBlob(key, digest)
        if (damage) yield damage
      }
      this.#done += size
      if (this.#progressIsDue()) yield this.#progress()
    }
    yield this.#progress()
  }

  #progress(): OperationProgress {
    return { type: 'progress', done: this.#done, total: this.#total, unit: 'bytes' }
  }

  async #copyBlob(key: Key, digest: Digest): Promise<DamagedObject | undefined> {
    const object = await this.#from.open(key)
    // It was removed after it was listed; so were its links, unless the source is damaged.
    if (!object) return undefined
    try {
      return await this.#copyVerified(object, key, digest)
    } finally {
      await object.close()
    }
  }

  async #copyVerified(object: OpenObject, key: Key, digest: Digest): Promise<DamagedObject | undefined> {
    // Only one copy to a storage runs at a time.
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
        return { type: 'damaged', key, reason: `its bytes have the digest ${actual}; it is not copied` }
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

  async *rest(prefix: Key, wanted: (key: Key) => boolean): AsyncGenerator<OperationProgress> {
    const present = new MergeCursor(this.#to.list(prefix))
    const batch: [key: Key, present: ObjectStat | undefined][] = []
    for await (const { key } of this.#from.list(prefix)) {
      this.#signal.throwIfAborted()
      if (!wanted(key) || batch.push([key, await present.find(key)]) < batchSize) continue
      await this.#copyBatch(batch.splice(0))
      if (this.#progressIsDue()) yield this.#progress()
    }
    await this.#copyBatch(batch)
  }

  // Settles when no copy of the batch is running.
  async #copyBatch(batch: readonly [Key, ObjectStat | undefined][]): Promise<void> {
    const results = await Promise.allSettled(batch.map(each => this.#copySmall(...each)))
    const failed = results.find(each => each.status === 'rejected')
    if (failed) throw failed.reason
  }

  // A link may change while it is copied; the target then has the value that was read.
  async #copySmall(key: Key, present: ObjectStat | undefined): Promise<void> {
    const bytes = await this.#from.get(key, maxLinkBytes)
    if (!bytes) return
    if (present?.size === bytes.length && (await this.#to.get(key, maxLinkBytes))?.equals(bytes)) {
      this.totals.present++
      return
    }
    await this.#to.put(key, bytes)
    this.totals.copied++
    this.totals.bytes += bytes.length
  }
}

// Follows a listing beside another one that has the same order.
class MergeCursor {
  readonly #objects: AsyncIterator<ObjectStat>
  #next: IteratorResult<ObjectStat> | undefined

  constructor(objects: AsyncIterable<ObjectStat>) {
    this.#objects = objects[Symbol.asyncIterator]()
  }

  /** The object under `key`, which comes after the keys of earlier calls. */
  async find(key: Key): Promise<ObjectStat | undefined> {
    this.#next ??= await this.#objects.next()
    while (!this.#next.done && this.#next.value.key < key) this.#next = await this.#objects.next()
    return !this.#next.done && this.#next.value.key === key ? this.#next.value : undefined
  }
}
