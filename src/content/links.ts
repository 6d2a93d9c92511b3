import type { Key, Storage } from '../../storage/storage.ts'
import { algorithmOf, type Digest, isDigest } from '../oci/digest.ts'
import { createLruCache } from './lru.ts'

// 50,000 links of about 250 bytes: what a control plane's platform has, several times over.
const remembered = 50_000

/** What a damaged object is reported to; the key says which. */
export type ReportDamage = (key: Key, reason: string) => void

/**
 * The small files that hold a digest. Read once and remembered: where this process owns the storage every change goes through here, so that memory never says
 * "exists" of what was removed; where it does not, memory does not last.
 */
export class Links {
  readonly #storage: Storage
  readonly #reportDamage: ReportDamage
  readonly #ttlMs: number | undefined
  readonly #cache: ReturnType<typeof createLruCache<Key, Digest>>
  // Of the links that are being read or written: counts their changes, so that a read that began before one is not remembered after it.
  readonly #busy = new Map<Key, { users: number; changes: number }>()

  /** What was read is remembered for `ttlMs`; without it until it changes here, which is the only place where it changes. */
  constructor(storage: Storage, damaged: ReportDamage, ttlMs?: number) {
    this.#storage = storage
    this.#ttlMs = ttlMs
    this.#cache = createLruCache(remembered, ttlMs)
    this.#reportDamage = damaged
  }

  /**
   * The digest in the link. `of` is the digest that the key spells: the content counts (Distribution keeps what was pushed by sha512 under the sha256 that it
   * computed), but within one algorithm the two have to agree. A damaged link is reported and is as good as none.
   */
  async read(key: Key, of?: Digest): Promise<Digest | undefined> {
    return this.#cache.get(key) ?? this.#during(key, unchanged => this.#look(key, of, unchanged))
  }

  /** `read`, past what is remembered where another process may have changed the link. */
  readCurrent(key: Key, of?: Digest): Promise<Digest | undefined> {
    if (this.#ttlMs !== undefined) this.forget([key])
    return this.read(key, of)
  }

  async #look(key: Key, of: Digest | undefined, unchanged: () => boolean): Promise<Digest | undefined> {
    const text = (await this.#storage.get(key).catch(tooLarge))?.toString('latin1').trim()
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

  /** Whether there is such a link; what it holds is not looked at. */
  async has(key: Key): Promise<boolean> {
    return this.#cache.has(key) || ((await this.#storage.stat(key))?.size ?? 0) > 0
  }

  /** Durable when it resolves. */
  write(key: Key, digest: Digest): Promise<void> {
    return this.#during(key, async unchanged => {
      try {
        await this.#storage.put(key, Buffer.from(digest))
      } catch (error) {
        // It may have taken effect all the same.
        this.forget([key])
        throw error
      }
      // A change that ran beside this one may have been the later one on disk.
      const last = unchanged()
      this.forget([key])
      if (last) this.#cache.set(key, digest)
    })
  }

  // `task` can ask whether the link was changed since it began.
  async #during<T>(key: Key, task: (unchanged: () => boolean) => Promise<T>): Promise<T> {
    const entry = this.#busy.get(key) ?? { users: 0, changes: 0 }
    this.#busy.set(key, entry)
    entry.users++
    const { changes } = entry
    try {
      return await task(() => entry.changes === changes)
    } finally {
      if (--entry.users === 0) this.#busy.delete(key)
    }
  }

  /** Removes links, and below `under` what became empty. Where the store is shared, nothing is asked for once `signal` is aborted. */
  async remove(keys: readonly Key[], under: Key, signal?: AbortSignal): Promise<void> {
    this.forget(keys)
    try {
      await this.#storage.remove(keys, under, signal)
    } finally {
      this.forget(keys)
    }
  }

  /** The next reads look at what is stored. */
  forget(keys: readonly Key[]): void {
    for (const key of keys) {
      this.#cache.delete(key)
      const entry = this.#busy.get(key)
      if (entry) entry.changes++
    }
  }

  /** `forget` for all of them. */
  forgetAll(): void {
    this.#cache.clear()
    for (const entry of this.#busy.values()) entry.changes++
  }
}

// A link of more than 64 KiB is no link.
function tooLarge(error: NodeJS.ErrnoException): Buffer {
  if (error.code === 'EFBIG') return Buffer.alloc(0)
  throw error
}
