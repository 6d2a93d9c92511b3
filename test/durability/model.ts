import type { Digest } from '../../src/oci/digest.ts'
import type { Name, Tag } from '../../src/oci/name.ts'

export type From = 'push' | 'upstream'

/** A manifest that has to be there. */
export interface KnownManifest {
  bytes: Buffer
  blobs: Digest[]
  manifests: Digest[]
  subject?: Digest
  from: From
  /** When it was last pushed or requested. */
  last: number
}

/** What has to be there of one repository. */
export interface Repository {
  manifests: Map<Digest, KnownManifest>
  tags: Map<Tag, { digest: Digest; from: From }>
  /** Blobs as of their last observation, and when a client was told of them; undefined is no promise. */
  blobs: Map<Digest, { from: From; told: number | undefined }>
}

/** What clients were told of a storage: what has to be there, and why. */
export class Model {
  readonly grace: number
  /** What the step under way may change, as `<name> <digest or tag>`. */
  readonly footprint = new Set<string>()
  readonly #names = new Map<Name, Repository>()

  constructor(grace: number) {
    this.grace = grace
  }

  at(name: Name): Repository {
    const known = this.#names.get(name) ?? { manifests: new Map(), tags: new Map(), blobs: new Map() }
    this.#names.set(name, known)
    return known
  }

  repositories(): [Name, Repository][] {
    return [...this.#names]
  }

  /** Blobs of `name` that have to be readable: a manifest needs them, or a client was told of them a moment ago. */
  certain(name: Name, now: number): Digest[] {
    const { manifests, blobs } = this.at(name)
    const stay = [...manifests].filter(([digest]) => !this.footprint.has(`${name} ${digest}`))
    const needed = new Set(stay.flatMap(([, each]) => each.blobs))
    return [...blobs]
      .filter(([digest, { told }]) => needed.has(digest) || (told !== undefined && now - told < this.grace))
      .map(([digest]) => digest)
  }

  /** Nothing is promised any more of what is not certain. */
  forget(now: number): void {
    for (const [name, { blobs }] of this.repositories()) {
      const certain = new Set(this.certain(name, now))
      for (const digest of [...blobs.keys()]) if (!certain.has(digest)) blobs.delete(digest)
    }
  }

  /** The process died: what it had only in memory, on top of what the disk knows to the hour or the minute, is lost. */
  crashed(hour: number): void {
    for (const [, { manifests, blobs }] of this.repositories()) {
      for (const each of manifests.values()) each.last -= hour
      for (const each of blobs.values()) {
        if (each.from === 'upstream') each.told = undefined
        else if (each.told !== undefined) each.told -= 60_000
      }
    }
  }

  /** Whether an eviction of content with a last access before `before` may remove a manifest. */
  mayExpire(name: Name, digest: Digest, before: number): boolean {
    const { manifests, tags } = this.at(name)
    const known = manifests.get(digest)
    return (
      known?.from === 'upstream' && known.last < before && ![...tags.values()].some(each => each.digest === digest && each.from === 'push')
    )
  }

  /** Whether garbage collection may remove a pushed manifest. */
  mayGoUntagged(name: Name, digest: Digest, now: number, untagged: number): boolean {
    const { manifests, tags } = this.at(name)
    const known = manifests.get(digest)
    if (known?.from !== 'push' || now - known.last < untagged) return false
    return ![...tags.values()].some(each => each.digest === digest)
  }
}
