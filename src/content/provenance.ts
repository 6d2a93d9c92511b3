import type { Key, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'
import * as keys from './keys.ts'
import { createLruCache } from './lru.ts'
import { listDigests, listNames } from './walk.ts'

/** Where a cached tag came from, and when that was last known to be so. */
export interface TagProvenance {
  /** The upstream as `<host>/<path>`. */
  upstream: string
  digest: Digest
  etag?: string
  /** ms since the epoch. */
  checked: number
}

const remembered = 20_000

/**
 * Marks of what was cached and not pushed. No mark means pushed, and what was pushed is never evicted: so marks are not synced to disk when they are set (losing one is
 * safe), and are removed before a push is acknowledged.
 */
export class Provenance {
  readonly #storage: Storage
  readonly #tags: ReturnType<typeof createLruCache<string, TagProvenance>>
  /** How many marks this process has set. */
  recordsWritten = 0
  // Counts changes, so that a read that began before one is not remembered after it.
  #changes = 0

  /** What was read is remembered for `ttl` ms; without it for as long as there is room. */
  constructor(storage: Storage, ttl?: number) {
    this.#storage = storage
    this.#tags = createLruCache(remembered, ttl)
  }

  /** Marks content of `name` as cached from `upstream`; called before the content becomes visible. */
  async set(name: Name, digest: Digest, upstream: string): Promise<void> {
    await this.#write(keys.provenanceRecord(name, digest), upstream)
  }

  /** The upstream that content of `name` was cached from; undefined if it was pushed. */
  async get(name: Name, digest: Digest): Promise<string | undefined> {
    return (await this.#storage.get(keys.provenanceRecord(name, digest)))?.toString('utf8')
  }

  /** Content of `name` is pushed. */
  remove(name: Name, digest: Digest): Promise<boolean> {
    return this.#remove(keys.provenanceRecord(name, digest))
  }

  /** Where a tag came from; undefined if it was pushed. */
  async getTag(name: Name, tag: Tag): Promise<TagProvenance | undefined> {
    const key = keys.tagProvenanceRecord(name, tag)
    const known = this.#tags.get(key)
    if (known) return known
    const changes = this.#changes
    const text = (await this.#storage.get(key))?.toString('utf8')
    const origin = text === undefined ? undefined : parse(text)
    if (origin && changes === this.#changes) this.#tags.set(key, origin)
    return origin
  }

  async setTag(name: Name, tag: Tag, origin: TagProvenance): Promise<void> {
    const key = keys.tagProvenanceRecord(name, tag)
    this.#changes++
    this.#tags.set(key, origin)
    await this.#write(key, JSON.stringify(origin))
  }

  removeTag(name: Name, tag: Tag): Promise<boolean> {
    const key = keys.tagProvenanceRecord(name, tag)
    this.#changes++
    this.#tags.delete(key)
    return this.#remove(key)
  }

  /** Forgets of several that they were cached: they are removed. */
  async removeAll(name: Name, digests: readonly Digest[]): Promise<void> {
    await this.#storage.remove(
      digests.map(digest => keys.provenanceRecord(name, digest)),
      keys.provenance
    )
  }

  /** The digests of `name` that have a provenance record. */
  list(name: Name): AsyncIterable<Digest> {
    return listDigests(this.#storage, keys.provenanceOf(name))
  }

  /** The repositories that have provenance records of blobs or manifests. */
  names(): AsyncIterable<Name> {
    return listNames(this.#storage, keys.provenance, entry => entry.name === '_content')
  }

  async #write(key: Key, text: string): Promise<void> {
    try {
      await this.#storage.put(key, Buffer.from(text), 'soon')
    } finally {
      // Whoever looked meanwhile may not have seen it.
      this.recordsWritten++
    }
  }

  async #remove(key: Key): Promise<boolean> {
    // Most pushes replace nothing that was cached; a removal costs a sync.
    if (!(await this.#storage.stat(key))) return false
    await this.#storage.remove([key], keys.provenance)
    return true
  }
}

// Not synced, so a power cut may leave anything.
function parse(text: string): TagProvenance | undefined {
  try {
    const value = JSON.parse(text) as TagProvenance
    return typeof value.upstream === 'string' && typeof value.checked === 'number' && typeof value.digest === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
