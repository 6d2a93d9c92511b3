import type { Key, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import { isName, type Name, type Tag } from '../oci/name.ts'
import * as keys from './keys.ts'
import { createRecent } from './lru.ts'

/** Where a cached tag came from, and when that was last known to be so. */
export interface TagOrigin {
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
  readonly #tags: ReturnType<typeof createRecent<string, TagOrigin>>
  /** How many marks this process has set. */
  marks = 0
  // Counts changes, so that a read that began before one is not remembered after it.
  #changes = 0

  /** What was read is remembered for `ttl` ms; without it for as long as there is room. */
  constructor(storage: Storage, ttl?: number) {
    this.#storage = storage
    this.#tags = createRecent(remembered, ttl)
  }

  /** Marks content of `name` as cached from `upstream`; called before the content becomes visible. */
  async mark(name: Name, digest: Digest, upstream: string): Promise<void> {
    await this.#write(keys.originOf(name, digest), upstream)
  }

  /** The upstream that content of `name` was cached from; undefined if it was pushed. */
  async of(name: Name, digest: Digest): Promise<string | undefined> {
    return (await this.#storage.get(keys.originOf(name, digest)))?.toString('utf8')
  }

  /** Content of `name` is pushed. */
  async unmark(name: Name, digest: Digest): Promise<void> {
    await this.#remove(keys.originOf(name, digest))
  }

  /** Where a tag came from; undefined if it was pushed. */
  async ofTag(name: Name, tag: Tag): Promise<TagOrigin | undefined> {
    const key = keys.originOfTag(name, tag)
    const known = this.#tags.get(key)
    if (known) return known
    const changes = this.#changes
    const text = (await this.#storage.get(key))?.toString('utf8')
    const origin = text === undefined ? undefined : parse(text)
    if (origin && changes === this.#changes) this.#tags.set(key, origin)
    return origin
  }

  async markTag(name: Name, tag: Tag, origin: TagOrigin): Promise<void> {
    const key = keys.originOfTag(name, tag)
    this.#changes++
    this.#tags.set(key, origin)
    await this.#write(key, JSON.stringify(origin))
  }

  async unmarkTag(name: Name, tag: Tag): Promise<void> {
    const key = keys.originOfTag(name, tag)
    this.#changes++
    this.#tags.delete(key)
    await this.#remove(key)
  }

  /** Forgets of several that they were cached: they are removed. */
  async unmarkAll(name: Name, digests: readonly Digest[]): Promise<void> {
    await this.#storage.remove(
      digests.map(digest => keys.originOf(name, digest)),
      keys.origins
    )
  }

  /** The content of `name` that is marked as cached. */
  async *list(name: Name): AsyncIterable<Digest> {
    for await (const algorithm of this.#storage.walk(keys.originsOf(name))) {
      for await (const encoded of this.#storage.walk(algorithm.key)) {
        const digest = keys.digestOfPath(algorithm.name, encoded.name)
        if (digest) yield digest
      }
    }
  }

  /** The names that have content which is marked as cached. */
  names(): AsyncIterable<Name> {
    return this.#namesBelow('')
  }

  async *#namesBelow(prefix: string): AsyncIterable<Name> {
    const children: string[] = []
    for await (const { name, kind } of this.#storage.walk(prefix === '' ? keys.origins : `${keys.origins}/${prefix}`)) {
      if (name === '_content' && isName(prefix)) yield prefix
      else if (kind === 'prefix' && !name.startsWith('_')) children.push(name)
    }
    for (const each of children) yield* this.#namesBelow(prefix === '' ? each : `${prefix}/${each}`)
  }

  async #write(key: Key, text: string): Promise<void> {
    try {
      await this.#storage.put(key, Buffer.from(text), 'soon')
    } finally {
      // Whoever looked meanwhile may not have seen it.
      this.marks++
    }
  }

  async #remove(key: Key): Promise<void> {
    // Most pushes replace nothing that was cached; a removal costs a sync.
    if (await this.#storage.stat(key)) await this.#storage.remove([key], keys.origins)
  }
}

// Not synced, so a power cut may leave anything.
function parse(text: string): TagOrigin | undefined {
  try {
    const value = JSON.parse(text) as TagOrigin
    return typeof value.upstream === 'string' && typeof value.checked === 'number' && typeof value.digest === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
