import type { KeyedMutex } from '../../../storage/keyed-mutex.ts'
import type { Key, Storage } from '../../../storage/storage.ts'
import type { Digest } from '../../oci/digest.ts'
import { isTag, type Name, type Tag } from '../../oci/name.ts'
import type { CommitDeps } from '../commit.ts'
import type { Holds } from '../holds.ts'
import * as keys from '../keys.ts'
import type { Links } from '../links.ts'
import type { Manifests } from '../manifests.ts'
import type { Provenance } from '../provenance.ts'
import type { Coordination } from '../shared/coordination.ts'
import type { AssertHeld } from '../shared/removal-lease.ts'
import type { Tags } from '../tags.ts'
import { leavesBelow, listDigests } from '../walk.ts'

const askedAtOnce = 64

/** Asked for each digest when nobody can come to need it any more: whether it may go. */
export type CanRemove = (digest: Digest) => Promise<boolean> | boolean

/** Those that may go, for a dry run. */
export async function filterRemovable(digests: readonly Digest[], may: CanRemove): Promise<Digest[]> {
  const found: Digest[] = []
  for (const digest of digests) if (await may(digest)) found.push(digest)
  return found
}

/** A manifest that is to go, and what goes with it. */
export interface ManifestRemoval {
  digest: Digest
  subject?: Digest
  /** Cached tags that name it. */
  tags: readonly Tag[]
}

/** What removals go through. */
export type RemovalsDeps = Pick<CommitDeps, 'storage' | 'links' | 'manifests' | 'tags' | 'provenance' | 'holds' | 'mutex'> & {
  coordination: Coordination
}

/**
 * What collections take away, each only while nobody holds it. Links go before the bytes that they lead to, durably, so that nobody is led to what is gone. Resolves to
 * what went.
 */
export class Removals {
  readonly #storage: Storage
  readonly #links: Links
  readonly #manifests: Manifests
  readonly #tags: Tags
  readonly #provenance: Provenance
  readonly #holds: Holds
  readonly #coordination: Coordination
  readonly #mutex: KeyedMutex

  constructor(parts: RemovalsDeps) {
    this.#storage = parts.storage
    this.#links = parts.links
    this.#manifests = parts.manifests
    this.#tags = parts.tags
    this.#provenance = parts.provenance
    this.#holds = parts.holds
    this.#coordination = parts.coordination
    this.#mutex = parts.mutex
  }

  /** Takes manifests from `name`. One that a tag names which was pushed stays, whatever `may` says. */
  removeManifests(name: Name, leaving: readonly ManifestRemoval[], may: CanRemove): Promise<readonly Digest[]> {
    const known = new Map(leaving.map(each => [each.digest, each]))
    return this.#mutex(name, () =>
      this.#holds.removeAll([...known.keys()], async (free, assertHeld) => {
        const gone: ManifestRemoval[] = []
        for (const digest of free) {
          const each = known.get(digest)
          if (each && (await may(digest)) && (await this.#untag(name, each, assertHeld))) gone.push(each)
        }
        if (gone.length === 0) return []
        const digests = gone.map(each => each.digest)
        const links = gone.flatMap(({ digest, subject }) => [
          keys.revision(name, digest),
          ...(subject ? [keys.referrer(name, subject, digest)] : [])
        ])
        const all = [...links, ...(await this.#history(name, new Set(digests)))]
        await this.#links.remove(all, keys.repository(name), assertHeld())
        await this.#provenance.removeAll(name, digests)
        return digests
      })
    )
  }

  async #untag(name: Name, { digest, tags }: ManifestRemoval, assertHeld: AssertHeld): Promise<boolean> {
    const naming: Tag[] = []
    for (const tag of tags) {
      // Whoever sets a tag holds the manifest, but whoever moves one away does not.
      if ((await this.#tags.resolveUncached(name, tag)) !== digest) continue
      if ((await this.#provenance.getTag(name, tag)) === undefined) return false
      naming.push(tag)
    }
    for (const tag of naming) {
      await this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name), assertHeld())
      await this.#provenance.removeTag(name, tag)
    }
    return true
  }

  // That a tag once named them.
  async #history(name: Name, gone: ReadonlySet<Digest>): Promise<Key[]> {
    const found: Key[] = []
    for await (const { name: tag } of this.#storage.walk(keys.tags(name))) {
      if (!isTag(tag)) continue
      for await (const digest of listDigests(this.#storage, keys.tagIndex(name, tag))) {
        if (gone.has(digest)) found.push(keys.tagIndexEntry(name, tag, digest))
      }
    }
    return found
  }

  /** Takes blobs from `name`, with the marks of those that were cached. */
  removeBlobs(name: Name, digests: readonly Digest[], may: CanRemove): Promise<readonly Digest[]> {
    return this.#removeAll(digests, may, async (gone, assertHeld) => {
      await this.#links.remove(
        gone.map(digest => keys.layer(name, digest)),
        keys.layers(name),
        assertHeld()
      )
      await this.#provenance.removeAll(name, gone)
    })
  }

  /** Removes bytes; cheap where digests lie beside each other. */
  removeBytes(digests: readonly Digest[], may: CanRemove): Promise<readonly Digest[]> {
    return this.#removeAll(digests, may, async (gone, assertHeld) => {
      await this.#coordination.removeBytes(gone, assertHeld())
      for (const digest of gone) this.#manifests.forget(digest)
    })
  }

  #removeAll(
    digests: readonly Digest[],
    may: CanRemove,
    task: (gone: readonly Digest[], assertHeld: AssertHeld) => Promise<void>
  ): Promise<readonly Digest[]> {
    return this.#holds.removeAll(digests, async (free, assertHeld) => {
      const gone: Digest[] = []
      for (let at = 0; at < free.length; at += askedAtOnce) {
        const some = free.slice(at, at + askedAtOnce)
        const answers = await Promise.all(some.map(may))
        gone.push(...some.filter((_, index) => answers[index]))
      }
      if (gone.length > 0) await task(gone, assertHeld)
      return gone
    })
  }

  /** Removes what is left of a tag whose change broke off; resolves to whether there was anything. */
  removeBrokenTag(name: Name, tag: Tag): Promise<boolean> {
    return this.#mutex(name, async () => {
      if (await this.#storage.stat(keys.tag(name, tag))) return false
      const left = await Array.fromAsync(leavesBelow(this.#storage, `${keys.tags(name)}/${tag}`), each => each.key)
      await this.#links.remove(left, keys.tags(name))
      return true
    })
  }

  /** Removes what is left of an upload session that has no object. */
  async removeEmptyUpload(name: Name, session: string): Promise<void> {
    const left = await Array.fromAsync(leavesBelow(this.#storage, `${keys.uploads(name)}/${session}`))
    await this.#storage.remove(
      left.filter(each => !each.object).map(each => each.key),
      keys.uploads(name)
    )
  }

  /** Removes what is left of a repository in which there is nothing; resolves to whether it was one. */
  removeEmptyRepository(name: Name): Promise<boolean> {
    return this.#mutex(name, async () => {
      const left: Key[] = []
      for await (const part of this.#storage.walk(keys.repository(name))) {
        if (!part.name.startsWith('_')) continue
        for await (const { key, object } of leavesBelow(this.#storage, part.key)) {
          // What a removed manifest referred to is found anew when it is pushed again.
          if (object && part.name !== '_referrers') return false
          left.push(key)
        }
      }
      await this.#links.remove(left, keys.repositories)
      return left.length > 0
    })
  }
}
