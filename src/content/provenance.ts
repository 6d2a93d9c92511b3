import type { Key, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'
import * as keys from './keys.ts'
import { createLruCache } from './lru.ts'
import { listDigests, listNames } from './walk.ts'

/** The provenance record of a tag: where it was cached from, and when upstream last confirmed it. */
export interface TagProvenance {
  /** The upstream as `<host>/<path>`. */
  upstream: string
  digest: Digest
  etag?: string
  /** When upstream was last asked, in ms since the epoch. */
  checked: number
}

const maxTags = 20_000

/**
 * Provenance records of cached content. Content without one was pushed, and is never evicted. So losing a record is
 * safe, and they are not synced to disk when they are written; but they are removed, durably, before a push is
 * acknowledged.
 */
export class Provenance {
  readonly #storage: Storage
  readonly #tags: ReturnType<typeof createLruCache<string, TagProvenance>>
  /** How many records this process has written. */
  recordsWritten = 0
  // Counts writes and removals of tags' records: a read that began before one is not cached after it.
  #writes = 0

  /** The record of a tag is cached for `ttlMs`; without it, until it changes here. */
  constructor(storage: Storage, ttlMs?: number) {
    this.#storage = storage
    this.#tags = createLruCache(maxTags, ttlMs)
  }

  /** Records that content of `name` is cached from `upstream`. Call before the content becomes visible. */
  async set(name: Name, digest: Digest, upstream: string): Promise<void> {
    await this.#write(keys.provenanceRecord(name, digest), upstream)
  }

  /** The upstream that content of `name` was cached from; undefined if it was pushed. */
  async get(name: Name, digest: Digest): Promise<string | undefined> {
    return (await this.#storage.get(keys.provenanceRecord(name, digest)))?.toString('utf8')
  }

  /** Removes the record of content that was pushed or removed; resolves to whether there was one. */
  remove(name: Name, digest: Digest): Promise<boolean> {
    return this.#remove(keys.provenanceRecord(name, digest))
  }

  /** The record of a tag; undefined if it was pushed. */
  async getTag(name: Name, tag: Tag): Promise<TagProvenance | undefined> {
    const key = keys.tagProvenanceRecord(name, tag)
    const known = this.#tags.get(key)
    if (known) return known
    const writes = this.#writes
    const text = (await this.#storage.get(key))?.toString('utf8')
    const record = text === undefined ? undefined : parse(text)
    if (record && writes === this.#writes) this.#tags.set(key, record)
    return record
  }

  async setTag(name: Name, tag: Tag, record: TagProvenance): Promise<void> {
    const key = keys.tagProvenanceRecord(name, tag)
    this.#writes++
    this.#tags.set(key, record)
    await this.#write(key, JSON.stringify(record))
  }

  removeTag(name: Name, tag: Tag): Promise<boolean> {
    const key = keys.tagProvenanceRecord(name, tag)
    this.#writes++
    this.#tags.delete(key)
    return this.#remove(key)
  }

  /** Removes the records of content that was removed. */
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
      // Counted afterwards: a walk at the same time may not have seen it.
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

// It was not synced, so that a power cut may have left anything.
function parse(text: string): TagProvenance | undefined {
  try {
    const value = JSON.parse(text) as TagProvenance
    return typeof value.upstream === 'string' && typeof value.checked === 'number' && typeof value.digest === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
