import type { ByteRange, Key } from '../storage.ts'
import { ObjectBodies } from './bodies.ts'
import type { Bucket } from './bucket.ts'
import { S3Object } from './object.ts'

interface SharedBodies {
  bodies: ObjectBodies
  /** When the service was asked for it. */
  since: number
}

/** The objects that are being read. Whoever opens one at about the same time as another asks for nothing, and reads the same bodies: a whole cluster pulls an image at once. */
export class OpenObjects {
  readonly #bucket: Bucket
  readonly #ttlMs: number
  readonly #entries = new Map<Key, SharedBodies>()
  readonly #opening = new Map<Key, Promise<S3Object | undefined>>()

  /** What the service said so many ms ago is as good as asking it. */
  constructor(bucket: Bucket, ttlMs: number) {
    this.#bucket = bucket
    this.#ttlMs = ttlMs
  }

  /** At most one request; undefined if there is no such object. */
  async open(key: Key, range?: ByteRange): Promise<S3Object | undefined> {
    if (this.#ttlMs <= 0) return S3Object.open(this.#bucket, key, range)
    const asking = this.#freshEntry(key) ? undefined : this.#opening.get(key)
    if (asking) await asking.catch(() => {})
    // What another one found absent may have been put since it was asked for.
    return this.#reader(this.#freshEntry(key)) ?? this.#ask(key, range)
  }

  #freshEntry(key: Key): SharedBodies | undefined {
    const known = this.#entries.get(key)
    return known && performance.now() - known.since < this.#ttlMs ? known : undefined
  }

  async #ask(key: Key, range: ByteRange | undefined): Promise<S3Object | undefined> {
    const since = performance.now()
    const asking = ObjectBodies.open(this.#bucket, key, range).then(bodies => {
      if (!bodies) return undefined
      const known = { bodies, since }
      // Forgotten meanwhile: it may be another one already.
      if (this.#opening.get(key) === asking) this.#entries.set(key, known)
      return this.#reader(known)
    })
    this.#opening.set(key, asking)
    try {
      return await asking
    } finally {
      if (this.#opening.get(key) === asking) this.#opening.delete(key)
    }
  }

  #reader(known: SharedBodies | undefined): S3Object | undefined {
    return (
      known &&
      new S3Object(this.#bucket, known.bodies, () => {
        if (this.#entries.get(known.bodies.key) === known) this.#entries.delete(known.bodies.key)
      })
    )
  }

  /** Objects were put or removed: whoever comes now asks for them. */
  forget(keys: readonly Key[]): void {
    for (const key of keys) {
      this.#entries.delete(key)
      this.#opening.delete(key)
    }
  }
}
