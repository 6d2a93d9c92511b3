import type { KeyedMutex } from '../../storage/keyed-mutex.ts'
import type { Key, Storage, Writer } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Name, Tag } from '../oci/name.ts'
import type { Holds } from './holds.ts'
import * as keys from './keys.ts'
import type { Links } from './links.ts'
import type { Manifests } from './manifests.ts'
import type { Provenance, TagProvenance } from './provenance.ts'
import type { Quarantine } from './quarantine.ts'
import type { DeletionBarrier, ReportedContent } from './shared/coordination.ts'
import type { Sizes } from './sizes.ts'
import type { Tags } from './tags.ts'

/** What a tag was before upstream was asked for it; a push that was acknowledged in the meantime wins over the answer. */
export interface TagState {
  digest: Digest | undefined
  provenance: TagProvenance | undefined
}

/** What a manifest changes beside being there. */
export interface ManifestOptions {
  subject?: Digest
  tags: readonly Tag[]
  provenance?: TagProvenance
  expected?: TagState
}

/** What changes go through. */
export interface CommitDeps {
  storage: Storage
  links: Links
  manifests: Manifests
  tags: Tags
  sizes: Sizes
  provenance: Provenance
  holds: Holds
  barrier: DeletionBarrier
  quarantine: Quarantine
  locked: KeyedMutex
}

/**
 * Every change of meaning that somebody asked for: what a name may read, what a tag names. Nothing else writes links. Each method's change is durable when it resolves.
 * What is stored is held first and the lock of the name is taken after that: who removes does not wait for holds.
 */
export class Commit {
  readonly holds: Holds
  readonly #storage: Storage
  readonly #links: Links
  readonly #manifests: Manifests
  readonly #tags: Tags
  readonly #sizes: Sizes
  readonly #provenance: Provenance
  readonly #barrier: DeletionBarrier
  readonly #quarantine: Quarantine
  readonly #locked: KeyedMutex

  constructor(parts: CommitDeps) {
    this.holds = parts.holds
    this.#storage = parts.storage
    this.#links = parts.links
    this.#manifests = parts.manifests
    this.#tags = parts.tags
    this.#sizes = parts.sizes
    this.#provenance = parts.provenance
    this.#barrier = parts.barrier
    this.#quarantine = parts.quarantine
    this.#locked = parts.locked
  }

  /**
   * Publishes verified bytes and lets `name` read them. Bytes that are there already are replaced, which is how a damaged blob heals. `upstream` is where they were
   * cached from; without it they were pushed.
   */
  publishBlob(name: Name, digest: Digest, writer: Writer, upstream?: string): Promise<void> {
    return this.holds.during(digest, async () => {
      const since = await this.#barrier.readEpoch()
      const size = writer.offset
      await writer.publish(keys.blob(digest))
      this.#sizes.set(digest, size)
      await this.#quarantine.healed(digest)
      await this.linkBlob(name, digest, upstream === undefined ? {} : { upstream })
      await this.#demand([{ link: keys.layer(name, digest), digest }], since)
    })
  }

  // Whoever was about to remove what lay there before may have taken the new bytes.
  async #demand(relied: readonly ReportedContent[], since: number): Promise<void> {
    const [gone] = await this.#barrier.findRemoved(relied, since)
    if (gone) throw Object.assign(new Error(`${gone.link} was removed by another process while it was published`), { code: 'ESTALLED' })
  }

  /** Lets `name` read a blob that is stored under `target`, which is another digest only in what Distribution wrote; `upstream` as for `blob`. */
  async linkBlob(name: Name, digest: Digest, { target = digest, upstream }: { target?: Digest; upstream?: string } = {}): Promise<void> {
    const release = await this.holds.holdAll([digest, target])
    try {
      const link = keys.layer(name, digest)
      await this.#setProvenance(name, digest, upstream, link)
      await this.#links.write(link, target)
    } finally {
      release()
    }
  }

  // What was pushed once stays pushed, even if a cache would fetch it again.
  async #setProvenance(name: Name, digest: Digest, upstream: string | undefined, link: Key): Promise<void> {
    if (upstream === undefined) await this.#provenance.remove(name, digest)
    else if ((await this.#links.read(link)) === undefined) await this.#provenance.set(name, digest, upstream)
  }

  /** Takes a blob from `name`; the bytes stay for others and for the garbage collection. */
  async unlinkBlob(name: Name, digest: Digest): Promise<void> {
    await this.#links.remove([keys.layer(name, digest)], keys.layers(name))
    await this.#provenance.remove(name, digest)
  }

  /**
   * Stores a verified manifest under `digest` and lets `tags` name it. Resolves to what each tag named before. With `origin` it was cached, and tags that are not as
   * they were `seen` stay as they are.
   */
  putManifest(name: Name, digest: Digest, bytes: Uint8Array, change: ManifestOptions): Promise<{ tag: Tag; old?: Digest }[]> {
    return this.holds.during(digest, async () => {
      const since = await this.#barrier.readEpoch()
      await this.#storage.put(keys.blob(digest), bytes)
      await this.#quarantine.healed(digest)
      const set = await this.#linkManifest(name, digest, bytes, change)
      await this.#demand([{ link: keys.revision(name, digest), digest }], since)
      return set
    })
  }

  #linkManifest(
    name: Name,
    digest: Digest,
    bytes: Uint8Array,
    { subject, tags, provenance: origin, expected: seen }: ManifestOptions
  ): Promise<{ tag: Tag; old?: Digest }[]> {
    return this.#locked(name, async () => {
      // Distribution knows a repository by this prefix, and would sweep the blobs of one that has none.
      await this.#storage.ensurePrefix(keys.layers(name))
      // The index of referrers first: the manifest must not be there without being listed.
      await this.#setProvenance(name, digest, origin?.upstream, keys.revision(name, digest))
      if (subject) await this.#links.write(keys.referrer(name, subject, digest), digest)
      await this.#links.write(keys.revision(name, digest), digest)
      this.#manifests.remember(digest, bytes)
      const set: { tag: Tag; old?: Digest }[] = []
      for (const tag of tags) {
        if (origin && !(await this.#mayCache(name, tag, digest, seen))) continue
        set.push(await this.#setTag(name, tag, digest, origin))
      }
      return set
    })
  }

  // A tag that was pushed and names the same already stays a pushed one.
  async #mayCache(name: Name, tag: Tag, digest: Digest, seen: TagState | undefined): Promise<boolean> {
    const [now, origin] = [await this.#tags.resolve(name, tag), await this.#provenance.getTag(name, tag)]
    if (now !== undefined && origin === undefined && now === digest) return false
    return seen === undefined || (now === seen.digest && (origin === undefined) === (seen.provenance === undefined))
  }

  async #setTag(name: Name, tag: Tag, digest: Digest, origin: TagProvenance | undefined): Promise<{ tag: Tag; old?: Digest }> {
    const old = await this.#tags.resolve(name, tag)
    if (origin) await this.#provenance.setTag(name, tag, origin)
    else await this.#provenance.removeTag(name, tag)
    await this.#links.write(keys.tag(name, tag), digest)
    await this.#links.write(keys.tagIndexEntry(name, tag, digest), digest)
    return old === undefined ? { tag } : { tag, old }
  }

  /** Upstream says that a cached tag is what it was; one that was pushed since stays a pushed one. */
  renewCachedTag(name: Name, tag: Tag, origin: TagProvenance): Promise<void> {
    return this.#locked(name, async () => {
      const known = await this.#provenance.getTag(name, tag)
      if (known?.digest === origin.digest) await this.#provenance.setTag(name, tag, origin)
    })
  }

  /** Upstream says that it has no such tag; resolves to whether it was removed, which one that was pushed is not. */
  removeCachedTag(name: Name, tag: Tag): Promise<boolean> {
    return this.#locked(name, async () => {
      if ((await this.#provenance.getTag(name, tag)) === undefined) return false
      await this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name))
      await this.#provenance.removeTag(name, tag)
      return true
    })
  }

  /** Removes a tag; resolves to what it named, undefined if there is none. What is left of one whose removal broke off goes as well. */
  removeTag(name: Name, tag: Tag): Promise<Digest | undefined> {
    return this.#locked(name, async () => {
      const old = await this.#tags.resolve(name, tag)
      await this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name))
      await this.#provenance.removeTag(name, tag)
      return old
    })
  }

  /** Removes a manifest and every tag that names it; resolves to those tags. The tags go first: none may be left that leads nowhere. */
  removeManifest(name: Name, digest: Digest, subject: Digest | undefined): Promise<Tag[]> {
    return this.#locked(name, async () => {
      const tags = await this.#tags.pointingAt(name, digest)
      for (const tag of tags) {
        await this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name))
        await this.#provenance.removeTag(name, tag)
      }
      await this.#links.remove([keys.revision(name, digest)], keys.revisions(name))
      if (subject) await this.#links.remove([keys.referrer(name, subject, digest)], keys.repository(name))
      await this.#provenance.remove(name, digest)
      // Hardly anybody asks for it again, and another repository reads it anew.
      this.#manifests.forget(digest)
      return tags
    })
  }

  /** Lists a manifest among the referrers of its subject, or takes it out, as the manifest itself says; resolves to what was done. */
  indexReferrer(name: Name, subject: Digest, digest: Digest): Promise<'added' | 'removed' | 'right'> {
    return this.#locked(name, async () => {
      const key = keys.referrer(name, subject, digest)
      // Past the memory of links: this is for what changed behind its back.
      const entry = (await this.#storage.get(key))?.toString('latin1').trim()
      const linked = (await this.#manifests.linked(name, digest)) !== undefined
      const manifest = linked ? await this.#manifests.get(name, digest) : undefined
      // Of one whose bytes are damaged nobody knows; when it is healed it counts again.
      if (linked && !manifest) return 'right'
      const refers = manifest !== undefined && readManifest(manifest.bytes)?.subject?.digest === subject
      if (entry === (refers ? digest : undefined)) return 'right'
      if (refers) await this.#links.write(key, digest)
      else await this.#links.remove([key], keys.repository(name))
      return refers ? 'added' : 'removed'
    })
  }

  /** Takes away what is left of a repository that holds nothing any more; one that holds something stays. */
  removeRepository(name: Name): Promise<void> {
    return this.#locked(name, async () => {
      const nothing = [keys.layers(name), keys.revisions(name), keys.tags(name), keys.uploads(name)].map(prefix => `${prefix}/nothing`)
      await this.#storage.remove(nothing, keys.repositories)
    })
  }
}
