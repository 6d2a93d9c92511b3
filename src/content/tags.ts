import type { Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import { isTag, type Name, type Tag } from '../oci/name.ts'
import type { Page, PageRequest } from '../oci/source.ts'
import * as keys from './keys.ts'
import type { Links } from './links.ts'
import { objectsBelow } from './walk.ts'

// Links are read side by side, so that a long list does not wait for the disk that many times.
const readAtOnce = 32

/** The tags of a repository. */
export class Tags {
  readonly #storage: Storage
  readonly #links: Links

  constructor(storage: Storage, links: Links) {
    this.#storage = storage
    this.#links = links
  }

  /** The digest that a tag names. */
  resolve(name: Name, tag: Tag): Promise<Digest | undefined> {
    return this.#links.read(keys.tag(name, tag))
  }

  /** Like `resolve`, but not from the cache where another process may have moved the tag. For removals and changes. */
  resolveUncached(name: Name, tag: Tag): Promise<Digest | undefined> {
    return this.#links.readCurrent(keys.tag(name, tag))
  }

  /** In byte order, which puts upper case before lower case ("ASCIIbetical"). */
  async list(name: Name, { n, last }: PageRequest): Promise<Page<Tag>> {
    return takePage(this.#all(name, last), n)
  }

  async *#all(name: Name, after?: string): AsyncIterable<Tag> {
    let tags: Tag[] = []
    for await (const entry of this.#storage.walk(keys.tags(name), after)) {
      if (entry.kind !== 'prefix' || !isTag(entry.name)) continue
      tags.push(entry.name)
      if (tags.length < readAtOnce) continue
      yield* await this.#existing(name, tags)
      tags = []
    }
    yield* await this.#existing(name, tags)
  }

  // A crash inside a change leaves debris, a prefix without a link. What is listed can be pulled.
  async #existing(name: Name, tags: Tag[]): Promise<Tag[]> {
    const there = await Promise.all(tags.map(tag => this.#links.has(keys.tag(name, tag))))
    return tags.filter((_, index) => there[index])
  }

  /** Every tag with the digest that it names, not from the cache. */
  async *all(name: Name): AsyncIterable<{ tag: Tag; digest: Digest }> {
    for await (const tag of this.#all(name)) {
      const digest = await this.resolveUncached(name, tag)
      if (digest !== undefined) yield { tag, digest }
    }
  }

  /** All tags that name `digest`. */
  async pointingAt(name: Name, digest: Digest): Promise<Tag[]> {
    const found: Tag[] = []
    for await (const each of this.all(name)) if (each.digest === digest) found.push(each.tag)
    return found
  }

  /** All keys of a tag. Its link comes first, so that a removal that breaks off has removed the tag. */
  async keysOf(name: Name, tag: Tag): Promise<string[]> {
    const found = [keys.tag(name, tag)]
    for await (const key of objectsBelow(this.#storage, keys.tagIndex(name, tag))) found.push(key)
    return found
  }
}

/**
 * The first `n` items of an ordered list, and the last of them if there are more (distribution-spec, "Listing Tags":
 * `n=0` is an empty list without more).
 */
export async function takePage<T extends string>(all: AsyncIterable<T>, n: number | undefined): Promise<Page<T>> {
  const items: T[] = []
  if (n === 0) return { items }
  for await (const each of all) {
    const next = items.at(-1)
    if (items.length === n && next !== undefined) return { items, next }
    items.push(each)
  }
  return { items }
}
