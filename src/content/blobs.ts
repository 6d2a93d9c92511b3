import type { Key, OpenObject, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { type RangeRequest, resolveRange } from '../oci/range.ts'
import type { BlobLocation, Body, OpenBlob } from '../oci/source.ts'
import type { Holds } from './holds.ts'
import * as keys from './keys.ts'
import type { Links, ReportDamage } from './links.ts'
import type { Quarantine } from './quarantine.ts'
import type { Coordination, DeletionBarrier } from './shared/coordination.ts'
import type { Sizes } from './sizes.ts'

/** What blobs are read through; damaged ones are reported to `damaged`. */
export interface BlobsDeps {
  storage: Storage
  links: Links
  sizes: Sizes
  holds: Holds
  coordination: Coordination
  barrier: DeletionBarrier
  quarantine: Quarantine
  reportDamage: ReportDamage
}

/** Which blobs clients fetch elsewhere, and for how long a place is valid. */
export interface Redirect {
  over: number
  seconds: number
}

/** Blobs that a repository may read: link, then one open. */
export class Blobs {
  readonly #storage: Storage
  readonly #links: Links
  readonly #sizes: Sizes
  readonly #holds: Holds
  readonly #coordination: Coordination
  readonly #barrier: DeletionBarrier
  readonly #quarantine: Quarantine
  readonly #reportDamage: ReportDamage

  constructor(parts: BlobsDeps) {
    this.#storage = parts.storage
    this.#links = parts.links
    this.#sizes = parts.sizes
    this.#holds = parts.holds
    this.#coordination = parts.coordination
    this.#barrier = parts.barrier
    this.#quarantine = parts.quarantine
    this.#reportDamage = parts.reportDamage
  }

  /** Open for reading, and held until whoever asks closes `body`. Undefined if `name` has no such blob, or if what is stored cannot be it. */
  async open(name: Name, digest: Digest, range?: RangeRequest): Promise<OpenBlob | undefined> {
    const release = await this.#holds.hold(digest)
    try {
      const object = await this.#object(name, digest, range)
      if (object) {
        const part = range ? resolveRange(range, object.size) : { offset: 0, length: object.size }
        return { size: object.size, part, body: new HeldBody(object, release) }
      }
    } catch (error) {
      release()
      throw error
    }
    release()
    return undefined
  }

  /** Its size in bytes. What is answered here can be opened as well. */
  stat(name: Name, digest: Digest): Promise<number | undefined> {
    return this.#holds.during(digest, async () => (await this.#look(name, digest))?.size)
  }

  /**
   * `open`, or where the storage can name a place and the blob is larger than `over` bytes, that place, valid for `seconds`. A blob of known
   * size is not opened to name its place.
   */
  async openOrLocate(
    name: Name,
    digest: Digest,
    { over, seconds, range }: Redirect & { range?: RangeRequest | undefined }
  ): Promise<OpenBlob | BlobLocation | undefined> {
    const target = await this.linked(name, digest)
    if (!this.#storage.locate || !target || this.#quarantine.has(target)) return this.open(name, digest, range)
    const size = over === 0 ? Number.POSITIVE_INFINITY : this.#sizes.get(target)
    if (size === undefined || size <= over) {
      const opened = await this.open(name, digest, range)
      if (size !== undefined || !opened || (opened.size ?? 0) <= over) return opened
      await opened.body.close()
    }
    return { location: await this.#storage.locate(keys.blob(target), seconds) }
  }

  /** `stat` for somebody who may rely on the answer: the bytes are as new as if they had just been pushed. */
  statRenewed(name: Name, digest: Digest): Promise<number | undefined> {
    return this.#holds.during(digest, async () => {
      const epoch = await this.#barrier.readEpoch()
      const target = await this.linked(name, digest)
      return target && this.#holds.during(target, () => this.#statTarget(name, digest, target, epoch))
    })
  }

  // The time comes with the size, and is rarely so old that it has to be renewed.
  async #statTarget(name: Name, digest: Digest, target: Digest, epoch: number): Promise<number | undefined> {
    const found = await this.#look(name, digest)
    if (!found) return undefined
    await this.#holds.renew(target, found.modified)
    if (target !== digest) await this.#holds.renew(digest, found.modified)
    const pending = this.#holds.mayBePending(found.modified) ? [{ link: keys.layer(name, digest), digest }] : []
    return (await this.#barrier.findRemoved(pending, epoch)).length > 0 ? undefined : found.size
  }

  /** The digest under which a blob of `name` lies, whether or not its bytes are sound. */
  linked(name: Name, digest: Digest): Promise<Digest | undefined> {
    return this.#links.read(keys.layer(name, digest), digest)
  }

  /** Whether the bytes are stored, for whatever repository. */
  async stored(digest: Digest): Promise<boolean> {
    return (await this.#storage.stat(keys.blob(digest))) !== undefined
  }

  async #look(name: Name, digest: Digest): Promise<{ size: number; modified: number } | undefined> {
    const target = this.#coordination.objectsAreWhole ? await this.linked(name, digest) : undefined
    if (target && !this.#quarantine.has(target)) {
      const found = await this.#storage.stat(keys.blob(target))
      if (!found) return this.#absent(name, digest, target)
      if (this.#sizes.agrees(target, found.size)) return found
    }
    const object = await this.#object(name, digest)
    await object?.close()
    return object
  }

  async #object(name: Name, digest: Digest, range?: RangeRequest): Promise<OpenObject | undefined> {
    const target = await this.linked(name, digest)
    if (!target) return undefined
    const key = keys.blob(target)
    if (this.#quarantine.has(target)) return this.#missing(key, 'its bytes are known to be damaged or gone')
    const object = await this.#storage.open(key, range)
    if (!object) return this.#absent(name, digest, target)
    try {
      if (await this.#sizes.plausible(name, target, object)) return object
    } catch (error) {
      await object.close()
      throw error
    }
    await object.close()
    return this.#missing(key, `${object.size} bytes that are not those of the digest`)
  }

  // Another process may have removed both, and only the link is remembered here.
  async #absent(name: Name, digest: Digest, target: Digest): Promise<undefined> {
    if ((await this.#links.readCurrent(keys.layer(name, digest), digest)) !== undefined)
      this.#missing(keys.blob(target), 'a link leads to it, but there are no bytes')
  }

  #missing(key: Key, reason: string): undefined {
    this.#reportDamage(key, reason)
    return undefined
  }
}

class HeldBody implements Body {
  readonly #object: OpenObject
  readonly #release: () => void

  constructor(object: OpenObject, release: () => void) {
    this.#object = object
    this.#release = release
  }

  get identity(): string | undefined {
    return this.#object.identity
  }

  readInto(into: Buffer, position: number): Promise<number> {
    return this.#object.readInto(into, position)
  }

  async close(): Promise<void> {
    try {
      await this.#object.close()
    } finally {
      this.#release()
    }
  }
}
