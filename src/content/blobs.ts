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

/** What blobs are read through. */
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

/** Which blobs clients fetch from the storage itself, and how long such a location is valid. */
export interface RedirectPolicy {
  overBytes: number
  validSeconds: number
}

/** Blobs that a repository may read: one lookup of the link, one open. */
export class Blobs {
  readonly #storage: Storage
  readonly #links: Links
  readonly #sizes: Sizes
  readonly #holds: Holds
  readonly #coordination: Coordination
  readonly #barrier: DeletionBarrier
  readonly #quarantine: Quarantine
  readonly #reportDamage: ReportDamage

  constructor(deps: BlobsDeps) {
    this.#storage = deps.storage
    this.#links = deps.links
    this.#sizes = deps.sizes
    this.#holds = deps.holds
    this.#coordination = deps.coordination
    this.#barrier = deps.barrier
    this.#quarantine = deps.quarantine
    this.#reportDamage = deps.reportDamage
  }

  /**
   * Opens a blob and holds it until `body` is closed. Undefined if `name` has no such blob, or if the stored bytes are
   * known-bad or of a wrong size.
   */
  async open(name: Name, digest: Digest, range?: RangeRequest): Promise<OpenBlob | undefined> {
    const release = await this.#holds.hold(digest)
    try {
      const object = await this.#openObject(name, digest, range)
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

  /** The size in bytes. A blob with a size can be opened as well. */
  stat(name: Name, digest: Digest): Promise<number | undefined> {
    return this.#holds.during(digest, async () => (await this.#stat(name, digest))?.size)
  }

  /**
   * Opens a blob, or gives its location if the storage can name one and the blob has more than `overBytes`. The
   * location is valid for `validSeconds`. A blob of known size is not opened for that.
   */
  async openOrLocate(
    name: Name,
    digest: Digest,
    { overBytes, validSeconds, range }: RedirectPolicy & { range?: RangeRequest | undefined }
  ): Promise<OpenBlob | BlobLocation | undefined> {
    const target = await this.linked(name, digest)
    if (!this.#storage.locate || !target || this.#quarantine.has(target)) return this.open(name, digest, range)
    const size = overBytes === 0 ? Number.POSITIVE_INFINITY : this.#sizes.get(target)
    if (size === undefined || size <= overBytes) {
      const opened = await this.open(name, digest, range)
      if (size !== undefined || !opened || (opened.size ?? 0) <= overBytes) return opened
      await opened.body.close()
    }
    return { location: await this.#storage.locate(keys.blob(target), validSeconds) }
  }

  /**
   * Like `stat`, for a client that may rely on the result: renews the time of the bytes as if they had just been
   * pushed.
   */
  statRenewed(name: Name, digest: Digest): Promise<number | undefined> {
    return this.#holds.during(digest, async () => {
      const epoch = await this.#barrier.readEpoch()
      const target = await this.linked(name, digest)
      return target && this.#holds.during(target, () => this.#statTarget(name, digest, target, epoch))
    })
  }

  // The time comes with the size, and rarely is old enough to be renewed.
  async #statTarget(name: Name, digest: Digest, target: Digest, epoch: number): Promise<number | undefined> {
    const found = await this.#stat(name, digest)
    if (!found) return undefined
    await this.#holds.renew(target, found.modified)
    if (target !== digest) await this.#holds.renew(digest, found.modified)
    const pending = this.#holds.mayBePending(found.modified) ? [{ link: keys.layer(name, digest), digest }] : []
    return (await this.#barrier.findRemoved(pending, epoch)).length > 0 ? undefined : found.size
  }

  /** The digest that the bytes of a blob of `name` are stored under, whether or not they are sound. */
  linked(name: Name, digest: Digest): Promise<Digest | undefined> {
    return this.#links.read(keys.layer(name, digest), digest)
  }

  /** Whether the bytes are stored, for any repository. */
  async stored(digest: Digest): Promise<boolean> {
    return (await this.#storage.stat(keys.blob(digest))) !== undefined
  }

  async #stat(name: Name, digest: Digest): Promise<{ size: number; modified: number } | undefined> {
    const target = this.#coordination.objectsAreWhole ? await this.linked(name, digest) : undefined
    if (target && !this.#quarantine.has(target)) {
      const found = await this.#storage.stat(keys.blob(target))
      if (!found) return this.#reportMissing(name, digest, target)
      if (this.#sizes.agrees(target, found.size)) return found
    }
    const object = await this.#openObject(name, digest)
    await object?.close()
    return object
  }

  async #openObject(name: Name, digest: Digest, range?: RangeRequest): Promise<OpenObject | undefined> {
    const target = await this.linked(name, digest)
    if (!target) return undefined
    const key = keys.blob(target)
    if (this.#quarantine.has(target)) return this.#report(key, 'its bytes are known to be damaged or missing')
    const object = await this.#storage.open(key, range)
    if (!object) return this.#reportMissing(name, digest, target)
    try {
      if (await this.#sizes.plausible(name, target, object)) return object
    } catch (error) {
      await object.close()
      throw error
    }
    await object.close()
    return this.#report(key, `${object.size} bytes that are not those of the digest`)
  }

  // Another process may have removed both, while the link is still cached here.
  async #reportMissing(name: Name, digest: Digest, target: Digest): Promise<undefined> {
    if ((await this.#links.readCurrent(keys.layer(name, digest), digest)) !== undefined)
      this.#report(keys.blob(target), 'a link leads to it, but there are no bytes')
  }

  #report(key: Key, reason: string): undefined {
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
