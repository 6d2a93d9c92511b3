import type { KeyedMutex } from '../../storage/keyed-mutex.ts'
import type { Key, Storage, Writer } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import { type ManifestDocument, readManifest } from '../oci/manifest.ts'
import type { Name, Tag } from '../oci/name.ts'
import { type ChangeBody, type ChangeListener, createDelivery, type DeliverChange } from './changes.ts'
import type { Holds } from './holds.ts'
import * as keys from './keys.ts'
import type { Links } from './links.ts'
import type { Manifests } from './manifests.ts'
import type { Provenance, TagProvenance } from './provenance.ts'
import type { Quarantine } from './quarantine.ts'
import type { DeletionBarrier, ReportedContent } from './shared/coordination.ts'
import type { Sizes } from './sizes.ts'
import type { Tags } from './tags.ts'

/** What a tag named, and whether that was cached. */
export interface TagState {
  digest: Digest | undefined
  provenance: TagProvenance | undefined
}

/** What is changed together with a manifest. */
export interface ManifestOptions {
  /** If the bytes have been parsed already. */
  document?: ManifestDocument
  subject?: Digest
  tags: readonly Tag[]
  /** Present if the manifest was cached. */
  provenance?: TagProvenance
  /** What a cached tag was before upstream was asked for it: a push that was acknowledged since wins. */
  expected?: TagState
}

/** A tag that was set, and what it named before. */
export interface SetTag {
  tag: Tag
  old?: Digest
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
  /** One task at a time for a repository, or for the link of a blob. */
  mutex: KeyedMutex
  now: () => number
  onChange?: ChangeListener | undefined
}

/**
 * The only public writer of content. When a method resolves, its change is durable and was delivered to `onChange`.
 *
 * Manifests and tags of a repository change inside its mutex. The link of a blob changes inside a mutex of its own:
 * links of different blobs are independent, and a client pushes many to one repository at once, whose syncs would wait
 * for each other. Without any mutex a blob that is pushed while it is cached could end as a cached one, and be evicted.
 * A digest is held before a mutex is taken: garbage collection, which takes a mutex first, does not wait for holds.
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
  readonly #mutex: KeyedMutex
  readonly #now: () => number
  readonly #deliver: DeliverChange | undefined

  constructor(deps: CommitDeps) {
    this.holds = deps.holds
    this.#storage = deps.storage
    this.#links = deps.links
    this.#manifests = deps.manifests
    this.#tags = deps.tags
    this.#sizes = deps.sizes
    this.#provenance = deps.provenance
    this.#barrier = deps.barrier
    this.#quarantine = deps.quarantine
    this.#mutex = deps.mutex
    this.#now = deps.now
    this.#deliver = deps.onChange && createDelivery(deps.onChange)
  }

  /**
   * Publishes verified bytes and lets `name` read them. Bytes that are stored already are replaced, which heals a
   * damaged blob. `upstream` is where they were cached from; without it they were pushed.
   */
  publishBlob(name: Name, digest: Digest, writer: Writer, upstream?: string): Promise<void> {
    return this.holds.during(digest, async () => {
      const epoch = await this.#barrier.readEpoch()
      const size = writer.offset
      await writer.publish(keys.blob(digest))
      this.#sizes.set(digest, size)
      await this.#quarantine.healed(digest)
      await this.linkBlob(name, digest, upstream === undefined ? {} : { upstream })
      await this.#demandPublished({ link: keys.layer(name, digest), digest }, epoch)
    })
  }

  // Another process that was about to remove what the new bytes replaced may have removed the new ones.
  async #demandPublished(reported: ReportedContent, epoch: number): Promise<void> {
    const [gone] = await this.#barrier.findRemoved([reported], epoch)
    if (gone) throw Object.assign(new Error(`${gone.link} was removed by another process while it was published`), { code: 'ESTALLED' })
  }

  /**
   * Lets `name` read a blob whose bytes are stored under `target`: another digest only in what Distribution wrote.
   * `upstream` as for `publishBlob`.
   */
  async linkBlob(name: Name, digest: Digest, { target = digest, upstream }: { target?: Digest; upstream?: string } = {}): Promise<void> {
    const release = await this.holds.holdAll([digest, target])
    const link = keys.layer(name, digest)
    try {
      await this.#mutex(link, async () => {
        const old = await this.#linkBefore(link, upstream)
        const madePushed = await this.#setProvenance(name, digest, upstream, old)
        const write = this.#links.write(link, target)
        const change = old !== target || madePushed ? ({ kind: 'blob-linked', digest, ...from(upstream) } as const) : undefined
        await this.#effect(link, name, write, change, async () => (await this.#links.readCurrent(link)) === target)
      })
    } finally {
      release()
    }
  }

  // What the link holds; not read where it does not matter.
  async #linkBefore(link: Key, upstream: string | undefined): Promise<Digest | undefined> {
    if (this.#deliver) return this.#links.readCurrent(link)
    return upstream === undefined ? undefined : this.#links.read(link)
  }

  // Content that was pushed stays pushed, even if a cache fetches it again. Resolves to whether cached content became
  // pushed.
  async #setProvenance(name: Name, digest: Digest, upstream: string | undefined, old: Digest | undefined): Promise<boolean> {
    if (upstream === undefined) return this.#provenance.remove(name, digest)
    if (old === undefined) await this.#provenance.set(name, digest, upstream)
    return false
  }

  /** Removes a blob from `name`; the bytes stay for other repositories and for garbage collection. */
  unlinkBlob(name: Name, digest: Digest): Promise<void> {
    const link = keys.layer(name, digest)
    return this.#mutex(link, async () => {
      const change = await this.#removalOf(link, 'blob-unlinked', name, digest)
      const removal = this.#links.remove([link], keys.layers(name))
      await this.#effect(link, name, removal, change, async () => (await this.#links.readCurrent(link)) === undefined)
      await this.#provenance.remove(name, digest)
    })
  }

  async #removalOf(link: Key, kind: 'blob-unlinked' | 'manifest-removed', name: Name, digest: Digest): Promise<ChangeBody | undefined> {
    if (!this.#deliver || (await this.#links.readCurrent(link)) === undefined) return undefined
    return { kind, digest, ...from(await this.#provenance.get(name, digest)) }
  }

  // Waits for a write or a removal, and delivers the change that it made. If it failed, it may have taken effect
  // nevertheless, which `isDone` tells: then the change is delivered too, because a retry makes none.
  async #effect(
    key: string,
    name: Name,
    work: Promise<void>,
    change: ChangeBody | undefined,
    isDone: () => Promise<boolean>
  ): Promise<void> {
    const deliver = this.#deliver
    if (!deliver) return work
    const made = change && { at: this.#now(), name, ...change }
    try {
      await work
    } catch (error) {
      // The first error counts.
      if (await isDone().catch(() => false)) await deliver(key, made).catch(() => {})
      throw error
    }
    await deliver(key, made)
  }

  /**
   * Stores a verified manifest under `digest` and lets `tags` name it. Resolves to what each tag named before. With
   * `provenance` it was cached, and a tag that is not as `expected` stays as it is.
   */
  putManifest(name: Name, digest: Digest, bytes: Uint8Array, options: ManifestOptions): Promise<SetTag[]> {
    return this.holds.during(digest, async () => {
      const epoch = await this.#barrier.readEpoch()
      await this.#storage.put(keys.blob(digest), bytes)
      await this.#quarantine.healed(digest)
      const set = await this.#mutex(name, () => this.#linkManifest(name, digest, bytes, options))
      await this.#demandPublished({ link: keys.revision(name, digest), digest }, epoch)
      return set
    })
  }

  // The order: bytes, index of referrers (a manifest must not be there unlisted), link of the manifest, links of tags.
  async #linkManifest(
    name: Name,
    digest: Digest,
    bytes: Uint8Array,
    { document, subject, tags, provenance, expected }: ManifestOptions
  ): Promise<SetTag[]> {
    const link = keys.revision(name, digest)
    const upstream = provenance?.upstream
    const old = await this.#linkBefore(link, upstream)
    await allSettled([
      // Distribution knows a repository by this prefix, and would sweep the blobs of one that has none.
      this.#storage.ensurePrefix(keys.layers(name)),
      subject && this.#links.write(keys.referrer(name, subject, digest), digest)
    ])
    const madePushed = await this.#setProvenance(name, digest, upstream, old)
    const change = old !== digest || madePushed ? ({ kind: 'manifest-linked', digest, ...from(upstream) } as const) : undefined
    const write = this.#links.write(link, digest)
    await this.#effect(name, name, write, change, async () => (await this.#links.readCurrent(link)) === digest)
    this.#manifests.cache(digest, bytes, document)
    const set: SetTag[] = []
    for (const tag of tags) {
      if (provenance && !(await this.#mayCache(name, tag, digest, expected))) continue
      set.push(await this.#setTag(name, tag, digest, provenance))
    }
    return set
  }

  // A tag that was pushed and names the same already stays a pushed one.
  async #mayCache(name: Name, tag: Tag, digest: Digest, expected: TagState | undefined): Promise<boolean> {
    const [current, provenance] = [await this.#tags.resolve(name, tag), await this.#provenance.getTag(name, tag)]
    if (current !== undefined && provenance === undefined && current === digest) return false
    return expected === undefined || (current === expected.digest && (provenance === undefined) === (expected.provenance === undefined))
  }

  async #setTag(name: Name, tag: Tag, digest: Digest, provenance: TagProvenance | undefined): Promise<SetTag> {
    const old = await this.#tagBefore(name, tag)
    const before = old === undefined ? {} : { old }
    let madePushed = false
    if (provenance) await this.#provenance.setTag(name, tag, provenance)
    else madePushed = await this.#provenance.removeTag(name, tag)
    const change =
      old !== digest || madePushed ? ({ kind: 'tag-set', digest, tag, ...before, ...from(provenance?.upstream) } as const) : undefined
    const write = this.#links.write(keys.tag(name, tag), digest)
    await allSettled([
      this.#effect(name, name, write, change, async () => (await this.#tags.resolveUncached(name, tag)) === digest),
      this.#links.write(keys.tagIndexEntry(name, tag, digest), digest)
    ])
    return { tag, ...before }
  }

  #tagBefore(name: Name, tag: Tag): Promise<Digest | undefined> {
    return this.#deliver ? this.#tags.resolveUncached(name, tag) : this.#tags.resolve(name, tag)
  }

  /** Upstream confirms a cached tag; one that was pushed since stays a pushed one. */
  renewCachedTag(name: Name, tag: Tag, provenance: TagProvenance): Promise<void> {
    return this.#mutex(name, async () => {
      const known = await this.#provenance.getTag(name, tag)
      if (known?.digest === provenance.digest) await this.#provenance.setTag(name, tag, provenance)
    })
  }

  /** Upstream has no such tag. Resolves to whether it was removed; one that was pushed is not. */
  removeCachedTag(name: Name, tag: Tag): Promise<boolean> {
    return this.#mutex(name, async () => {
      if ((await this.#provenance.getTag(name, tag)) === undefined) return false
      await this.#removeTag(name, tag)
      return true
    })
  }

  /** Removes a tag only; resolves to what it named. */
  removeTag(name: Name, tag: Tag): Promise<Digest | undefined> {
    return this.#mutex(name, () => this.#removeTag(name, tag))
  }

  // Also what is left of one whose change broke off.
  async #removeTag(name: Name, tag: Tag): Promise<Digest | undefined> {
    const old = await this.#tagBefore(name, tag)
    const upstream = this.#deliver && (await this.#provenance.getTag(name, tag))?.upstream
    const removal = this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name))
    const change = old === undefined ? undefined : ({ kind: 'tag-removed', digest: old, tag, ...from(upstream) } as const)
    await this.#effect(name, name, removal, change, async () => (await this.#tags.resolveUncached(name, tag)) === undefined)
    await this.#provenance.removeTag(name, tag)
    return old
  }

  /**
   * Removes a manifest and every tag that names it; resolves to those tags. The tags go first: none may be left without
   * its manifest.
   */
  removeManifest(name: Name, digest: Digest, subject: Digest | undefined): Promise<Tag[]> {
    return this.#mutex(name, async () => {
      const tags = await this.#tags.pointingAt(name, digest)
      for (const tag of tags) await this.#removeTag(name, tag)
      const link = keys.revision(name, digest)
      const change = await this.#removalOf(link, 'manifest-removed', name, digest)
      const removal = this.#links.remove([link], keys.revisions(name))
      await this.#effect(name, name, removal, change, async () => (await this.#links.readCurrent(link)) === undefined)
      if (subject) await this.#links.remove([keys.referrer(name, subject, digest)], keys.repository(name))
      await this.#provenance.remove(name, digest)
      // It is rarely read again, and another repository reads it anew.
      this.#manifests.forget(digest)
      return tags
    })
  }

  /**
   * Lists a manifest among the referrers of its subject, or takes it out, as the manifest itself says; resolves to what
   * was done.
   */
  indexReferrer(name: Name, subject: Digest, digest: Digest): Promise<'added' | 'removed' | 'right'> {
    return this.#mutex(name, async () => {
      const key = keys.referrer(name, subject, digest)
      // Not from the cache of links: this is for what changed without it.
      const entry = (await this.#storage.get(key))?.toString('latin1').trim()
      const linked = (await this.#manifests.linked(name, digest)) !== undefined
      const manifest = linked ? await this.#manifests.get(name, digest) : undefined
      // Its bytes are damaged: what it refers to is unknown until they heal.
      if (linked && !manifest) return 'right'
      const refers = manifest !== undefined && readManifest(manifest.bytes)?.subject?.digest === subject
      if (entry === (refers ? digest : undefined)) return 'right'
      if (refers) await this.#links.write(key, digest)
      else await this.#links.remove([key], keys.repository(name))
      return refers ? 'added' : 'removed'
    })
  }

  /** Removes what is left of an empty repository; one that is not empty stays. */
  removeRepository(name: Name): Promise<void> {
    return this.#mutex(name, async () => {
      const nothing = [keys.layers(name), keys.revisions(name), keys.tags(name), keys.uploads(name)].map(prefix => `${prefix}/nothing`)
      await this.#storage.remove(nothing, keys.repositories)
    })
  }
}

const from = (upstream: string | undefined): { upstream?: string } => (upstream === undefined ? {} : { upstream })

/** Like `Promise.all`, but nothing runs on when it rejects: what still wrote would do so outside the mutex. */
async function allSettled<T extends readonly unknown[]>(work: readonly [...T]): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(work)
  return Promise.all(work)
}
