import type { ByteRange, Key } from '../storage.ts'
import { ObjectBodies } from './bodies.ts'
import type { Bucket } from './bucket.ts'
import { S3Object } from './object.ts'

interface SharedBodies {
  bodies: ObjectBodies
  /** When it was requested. */
  requestedAt: number
}

/**
 * The objects that are being read. One that is opened again within the TTL costs no request and shares its bodies: when
 * a cluster pulls an image, all nodes read the same objects at about the same time.
 */
export class OpenObjects {
  readonly #bucket: Bucket
  readonly #ttlMs: number
  readonly #entries = new Map<Key, SharedBodies>()
  /** Those that wait are requests under way, which the gateway bounds, and background work. */
  readonly #opening = new Map<Key, Promise<S3Object | undefined>>()

  /** `ttlMs`: how long a response counts for others that open the object; 0 turns sharing off. */
  constructor(bucket: Bucket, ttlMs: number) {
    this.#bucket = bucket
    this.#ttlMs = ttlMs
  }

  /** Makes at most one request; undefined if there is no such object. */
  async open(key: Key, range?: ByteRange): Promise<S3Object | undefined> {
    if (this.#ttlMs <= 0) return S3Object.open(this.#bucket, key, range)
    const pending = this.#freshEntry(key) ? undefined : this.#opening.get(key)
    if (pending) await pending.catch(() => {})
    // Not the other's result: an object that was absent may have been put since that request.
    return this.#reader(this.#freshEntry(key)) ?? this.#request(key, range)
  }

  #freshEntry(key: Key): SharedBodies | undefined {
    const entry = this.#entries.get(key)
    return entry && performance.now() - entry.requestedAt < this.#ttlMs ? entry : undefined
  }

  async #request(key: Key, range: ByteRange | undefined): Promise<S3Object | undefined> {
    const requestedAt = performance.now()
    const opening = ObjectBodies.open(this.#bucket, key, range).then(bodies => {
      if (!bodies) return undefined
      const entry = { bodies, requestedAt }
      // Not if it was forgotten meanwhile: the key may have another object by now.
      if (this.#opening.get(key) === opening) this.#entries.set(key, entry)
      return this.#reader(entry)
    })
    this.#opening.set(key, opening)
    try {
      return await opening
    } finally {
      if (this.#opening.get(key) === opening) this.#opening.delete(key)
    }
  }

  #reader(entry: SharedBodies | undefined): S3Object | undefined {
    return (
      entry &&
      new S3Object(this.#bucket, entry.bodies, () => {
        if (this.#entries.get(entry.bodies.key) === entry) this.#entries.delete(entry.bodies.key)
      })
    )
  }

  /** Call when objects were put or removed: the next `open` requests them. */
  forget(keys: readonly Key[]): void {
    for (const key of keys) {
      this.#entries.delete(key)
      this.#opening.delete(key)
    }
  }
}
