import type { Key, Storage } from '../../storage/storage.ts'
import { algorithmOf, type Digest, isDigest } from '../oci/digest.ts'
import { createLruCache } from './lru.ts'

// Of about 250 bytes each: several times as many as the platform of a control plane has.
const maxLinks = 50_000

/** Reports a damaged object. */
export type ReportDamage = (key: Key, reason: string) => void

/**
 * Links, read once and then cached. Where this process owns the storage, every change of a link goes through here, so
 * that the cache never holds one that was removed. Where processes share the storage, entries of the cache have a TTL.
 */
export class Links {
  readonly #storage: Storage
  readonly #reportDamage: ReportDamage
  readonly #ttlMs: number | undefined
  readonly #cache: ReturnType<typeof createLruCache<Key, Digest>>
  // The links that are being read or written, with a count of their changes: a read that began before a change is not
  // cached after it.
  readonly #inUse = new Map<Key, { users: number; changes: number }>()

  /** A link is cached for `ttlMs`; without it, until it changes here. */
  constructor(storage: Storage, reportDamage: ReportDamage, ttlMs?: number) {
    this.#storage = storage
    this.#ttlMs = ttlMs
    this.#cache = createLruCache(maxLinks, ttlMs)
    this.#reportDamage = reportDamage
  }

  /**
   * The digest in a link. `of` is the digest that the key spells. The content of the link counts (Distribution stores a
   * push by sha512 under the sha256 that it computed), but within one algorithm the two have to agree. A damaged link
   * is reported and counts as none.
   */
  async read(key: Key, of?: Digest): Promise<Digest | undefined> {
    return this.#cache.get(key) ?? this.#trackChanges(key, unchanged => this.#readStored(key, of, unchanged))
  }

  /** Like `read`, but not from the cache where another process may have changed the link. */
  readCurrent(key: Key, of?: Digest): Promise<Digest | undefined> {
    if (this.#ttlMs !== undefined) this.forget([key])
    return this.read(key, of)
  }

  async #readStored(key: Key, of: Digest | undefined, unchanged: () => boolean): Promise<Digest | undefined> {
    const text = (await this.#storage.get(key).catch(emptyIfTooLarge))?.toString('latin1').trim()
    if (text === undefined) return undefined
    if (!isDigest(text)) {
      this.#reportDamage(key, 'the link holds no digest')
      return undefined
    }
    if (of !== undefined && algorithmOf(of) === algorithmOf(text) && of !== text) {
      this.#reportDamage(key, 'the link holds another digest than its name')
      return undefined
    }
    if (unchanged()) this.#cache.set(key, text)
    return text
  }

  /** Whether there is such a link; its content is not read. */
  async has(key: Key): Promise<boolean> {
    return this.#cache.has(key) || ((await this.#storage.stat(key))?.size ?? 0) > 0
  }

  /** Durable when it resolves. */
  write(key: Key, digest: Digest): Promise<void> {
    return this.#trackChanges(key, async unchanged => {
      try {
        await this.#storage.put(key, Buffer.from(digest))
      } catch (error) {
        // It may have taken effect nevertheless.
        this.forget([key])
        throw error
      }
      // A change that ran at the same time may have been the later one on disk.
      const last = unchanged()
      this.forget([key])
      if (last) this.#cache.set(key, digest)
    })
  }

  // `task` gets a function that tells whether the link is unchanged since it began.
  async #trackChanges<T>(key: Key, task: (unchanged: () => boolean) => Promise<T>): Promise<T> {
    const entry = this.#inUse.get(key) ?? { users: 0, changes: 0 }
    this.#inUse.set(key, entry)
    entry.users++
    const { changes } = entry
    try {
      return await task(() => entry.changes === changes)
    } finally {
      if (--entry.users === 0) this.#inUse.delete(key)
    }
  }

  /**
   * Removes links, and prefixes below `under` that became empty. A shared storage gets no request once `signal` is
   * aborted.
   */
  async remove(keys: readonly Key[], under: Key, signal?: AbortSignal): Promise<void> {
    this.forget(keys)
    try {
      await this.#storage.remove(keys, under, signal)
    } finally {
      this.forget(keys)
    }
  }

  /** Drops links from the cache. */
  forget(keys: readonly Key[]): void {
    for (const key of keys) {
      this.#cache.delete(key)
      const entry = this.#inUse.get(key)
      if (entry) entry.changes++
    }
  }

  /** Empties the cache. */
  forgetAll(): void {
    this.#cache.clear()
    for (const entry of this.#inUse.values()) entry.changes++
  }
}

// An object of more than 64 KiB is no link.
function emptyIfTooLarge(error: NodeJS.ErrnoException): Buffer {
  if (error.code === 'EFBIG') return Buffer.alloc(0)
  throw error
}
