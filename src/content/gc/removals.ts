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

const checkConcurrency = 64

/** Called for each digest while holds of it wait: whether it may be removed. */
export type CanRemove = (digest: Digest) => Promise<boolean> | boolean

/** The digests that may be removed, for a dry run. */
export async function filterRemovable(digests: readonly Digest[], canRemove: CanRemove): Promise<Digest[]> {
  const found: Digest[] = []
  for (const digest of digests) if (await canRemove(digest)) found.push(digest)
  return found
}

/** A manifest to be removed, and what goes with it. */
export interface ManifestRemoval {
  digest: Digest
  subject?: Digest
  /** Cached tags that name it. */
  tags: readonly Tag[]
}

/** What removals need. */
export type RemovalsDeps = Pick<CommitDeps, 'storage' | 'links' | 'manifests' | 'tags' | 'provenance' | 'holds' | 'mutex'> & {
  coordination: Coordination
}

/**
 * The removals of GC and eviction, each only while its digest is not held. Links are removed durably before the bytes
 * that they lead to, so that no link leads to missing bytes. The methods for digests resolve to those that were
 * removed.
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

  constructor(deps: RemovalsDeps) {
    this.#storage = deps.storage
    this.#links = deps.links
    this.#manifests = deps.manifests
    this.#tags = deps.tags
    this.#provenance = deps.provenance
    this.#holds = deps.holds
    this.#coordination = deps.coordination
    this.#mutex = deps.mutex
  }

  /** Removes manifests from `name`. One that a pushed tag names is kept, whatever `canRemove` says. */
  removeManifests(name: Name, manifests: readonly ManifestRemoval[], canRemove: CanRemove): Promise<readonly Digest[]> {
    const byDigest = new Map(manifests.map(each => [each.digest, each]))
    return this.#mutex(name, () =>
      this.#holds.removeAll([...byDigest.keys()], async (free, assertHeld) => {
        const removable: ManifestRemoval[] = []
        for (const digest of free) {
          const each = byDigest.get(digest)
          if (each && (await canRemove(digest)) && (await this.#untag(name, each, assertHeld))) removable.push(each)
        }
        if (removable.length === 0) return []
        const digests = removable.map(each => each.digest)
        const links = removable.flatMap(({ digest, subject }) => [
          keys.revision(name, digest),
          ...(subject ? [keys.referrer(name, subject, digest)] : [])
        ])
        const all = [...links, ...(await this.#tagIndexEntries(name, new Set(digests)))]
        await this.#links.remove(all, keys.repository(name), assertHeld())
        await this.#provenance.removeAll(name, digests)
        return digests
      })
    )
  }

  async #untag(name: Name, { digest, tags }: ManifestRemoval, assertHeld: AssertHeld): Promise<boolean> {
    const naming: Tag[] = []
    for (const tag of tags) {
      // Setting a tag holds the manifest; moving one away does not.
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

  // The entries that record that a tag once named one of the digests.
  async #tagIndexEntries(name: Name, digests: ReadonlySet<Digest>): Promise<Key[]> {
    const found: Key[] = []
    for await (const { name: tag } of this.#storage.walk(keys.tags(name))) {
      if (!isTag(tag)) continue
      for await (const digest of listDigests(this.#storage, keys.tagIndex(name, tag))) {
        if (digests.has(digest)) found.push(keys.tagIndexEntry(name, tag, digest))
      }
    }
    return found
  }

  /** Removes the links of `name` to blobs, and the provenance records of those that were cached. */
  removeBlobs(name: Name, digests: readonly Digest[], canRemove: CanRemove): Promise<readonly Digest[]> {
    return this.#removeAll(digests, canRemove, async (removable, assertHeld) => {
      await this.#links.remove(
        removable.map(digest => keys.layer(name, digest)),
        keys.layers(name),
        assertHeld()
      )
      await this.#provenance.removeAll(name, removable)
    })
  }

  /** Removes bytes. Cheap for digests that share a directory. */
  removeBytes(digests: readonly Digest[], canRemove: CanRemove): Promise<readonly Digest[]> {
    return this.#removeAll(digests, canRemove, async (removable, assertHeld) => {
      await this.#coordination.removeBytes(removable, assertHeld())
      for (const digest of removable) this.#manifests.forget(digest)
    })
  }

  #removeAll(
    digests: readonly Digest[],
    canRemove: CanRemove,
    task: (removable: readonly Digest[], assertHeld: AssertHeld) => Promise<void>
  ): Promise<readonly Digest[]> {
    return this.#holds.removeAll(digests, async (free, assertHeld) => {
      const removable: Digest[] = []
      for (let at = 0; at < free.length; at += checkConcurrency) {
        const batch = free.slice(at, at + checkConcurrency)
        const allowed = await Promise.all(batch.map(canRemove))
        removable.push(...batch.filter((_, index) => allowed[index]))
      }
      if (removable.length > 0) await task(removable, assertHeld)
      return removable
    })
  }

  /** Removes the debris of a tag: everything but its link. Resolves to whether the tag has no link. */
  removeBrokenTag(name: Name, tag: Tag): Promise<boolean> {
    return this.#mutex(name, async () => {
      if (await this.#storage.stat(keys.tag(name, tag))) return false
      const leaves = await Array.fromAsync(leavesBelow(this.#storage, `${keys.tags(name)}/${tag}`), each => each.key)
      await this.#links.remove(leaves, keys.tags(name))
      return true
    })
  }

  /** Removes the empty prefixes of an upload session. */
  async removeEmptyUpload(name: Name, session: string): Promise<void> {
    const leaves = await Array.fromAsync(leavesBelow(this.#storage, `${keys.uploads(name)}/${session}`))
    await this.#storage.remove(
      leaves.filter(each => !each.object).map(each => each.key),
      keys.uploads(name)
    )
  }

  /** Removes a repository without content; resolves to whether it was one. */
  removeEmptyRepository(name: Name): Promise<boolean> {
    return this.#mutex(name, async () => {
      const found: Key[] = []
      for await (const part of this.#storage.walk(keys.repository(name))) {
        if (!part.name.startsWith('_')) continue
        for await (const { key, object } of leavesBelow(this.#storage, part.key)) {
          // The index of referrers is written anew when the manifest is pushed again.
          if (object && part.name !== '_referrers') return false
          found.push(key)
        }
      }
      await this.#links.remove(found, keys.repositories)
      return found.length > 0
    })
  }
}
