import type { Key, OpenObject, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { type RangeRequest, select } from '../oci/range.ts'
import type { OpenBlob } from '../oci/source.ts'
import * as keys from './keys.ts'
import type { Damage, Links } from './links.ts'
import type { Quarantine } from './quarantine.ts'
import type { Sizes } from './sizes.ts'

/** Blobs that a repository may read: link, then one open. */
export class Blobs {
  readonly #storage: Storage
  readonly #links: Links
  readonly #sizes: Sizes
  readonly #quarantine: Quarantine
  readonly #damaged: Damage

  constructor(storage: Storage, links: Links, sizes: Sizes, quarantine: Quarantine, damaged: Damage) {
    this.#storage = storage
    this.#links = links
    this.#sizes = sizes
    this.#quarantine = quarantine
    this.#damaged = damaged
  }

  /** Open for reading; whoever asks closes `body`. Undefined if `name` has no such blob, or if what is stored cannot be it. */
  async open(name: Name, digest: Digest, range?: RangeRequest): Promise<OpenBlob | undefined> {
    const object = await this.#object(name, digest, range)
    if (!object) return undefined
    const part = range ? select(range, object.size) : { offset: 0, length: object.size }
    return { size: object.size, part, body: object }
  }

  /** Its size in bytes. What is answered here can be opened as well. */
  async stat(name: Name, digest: Digest): Promise<number | undefined> {
    const object = await this.#object(name, digest)
    await object?.close()
    return object?.size
  }

  /** The digest under which a blob of `name` lies, whether or not its bytes are sound. */
  linked(name: Name, digest: Digest): Promise<Digest | undefined> {
    return this.#links.read(keys.layer(name, digest), digest)
  }

  /** Whether the bytes are stored, for whatever repository. */
  async stored(digest: Digest): Promise<boolean> {
    return (await this.#storage.stat(keys.blob(digest))) !== undefined
  }

  async #object(name: Name, digest: Digest, range?: RangeRequest): Promise<OpenObject | undefined> {
    const target = await this.linked(name, digest)
    if (!target) return undefined
    const key = keys.blob(target)
    if (this.#quarantine.has(target)) return this.#missing(key, 'its bytes are known to be damaged or gone')
    const object = await this.#storage.open(key, range)
    if (!object) return this.#missing(key, 'a link leads to it, but there are no bytes')
    try {
      if (await this.#sizes.plausible(name, target, object)) return object
    } catch (error) {
      await object.close()
      throw error
    }
    await object.close()
    return this.#missing(key, `${object.size} bytes that are not those of the digest`)
  }

  #missing(key: Key, reason: string): undefined {
    this.#damaged(key, reason)
    return undefined
  }
}
