import type { Storage, Writer } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'
import * as keys from './keys.ts'
import type { Links } from './links.ts'
import { createLocks } from './locks.ts'
import type { Manifests } from './manifests.ts'
import type { Sizes } from './sizes.ts'
import type { Tags } from './tags.ts'

/** Every change of meaning: what a name may read, what a tag names. Nothing else writes links. Each method's change is durable when it resolves. */
export class Commit {
  readonly #storage: Storage
  readonly #links: Links
  readonly #manifests: Manifests
  readonly #tags: Tags
  readonly #sizes: Sizes
  readonly #locked = createLocks()

  constructor(storage: Storage, links: Links, manifests: Manifests, tags: Tags, sizes: Sizes) {
    this.#storage = storage
    this.#links = links
    this.#manifests = manifests
    this.#tags = tags
    this.#sizes = sizes
  }

  /** Publishes verified bytes and lets `name` read them. Bytes that are there already are replaced, which is how a damaged blob heals. */
  async blob(name: Name, digest: Digest, writer: Writer): Promise<void> {
    const size = writer.offset
    await writer.publish(keys.blob(digest))
    this.#sizes.set(digest, size)
    await this.linkBlob(name, digest)
  }

  /** Lets `name` read a blob that is stored under `target`, which is another digest only in what Distribution wrote. */
  async linkBlob(name: Name, digest: Digest, target: Digest = digest): Promise<void> {
    await this.#links.write(keys.layer(name, digest), target)
  }

  /** Takes a blob from `name`; the bytes stay for others and for the garbage collection. */
  async unlinkBlob(name: Name, digest: Digest): Promise<void> {
    await this.#links.remove([keys.layer(name, digest)], keys.layers(name))
  }

  /** Stores a verified manifest under `digest` and lets `tags` name it. Resolves to what each tag named before. */
  async manifest(
    name: Name,
    digest: Digest,
    bytes: Uint8Array,
    { subject, tags }: { subject?: Digest; tags: readonly Tag[] }
  ): Promise<{ tag: Tag; old?: Digest }[]> {
    await this.#storage.put(keys.blob(digest), bytes)
    // Distribution knows a repository by this prefix, and would sweep the blobs of one that has none.
    await this.#storage.ensurePrefix(keys.layers(name))
    return this.#locked(name, async () => {
      // The index of referrers first: the manifest must not be there without being listed.
      if (subject) await this.#links.write(keys.referrer(name, subject, digest), digest)
      await this.#links.write(keys.revision(name, digest), digest)
      this.#manifests.remember(digest, bytes)
      const set: { tag: Tag; old?: Digest }[] = []
      for (const tag of tags) set.push(await this.#setTag(name, tag, digest))
      return set
    })
  }

  async #setTag(name: Name, tag: Tag, digest: Digest): Promise<{ tag: Tag; old?: Digest }> {
    const old = await this.#tags.resolve(name, tag)
    await this.#links.write(keys.tag(name, tag), digest)
    await this.#links.write(keys.tagIndexEntry(name, tag, digest), digest)
    return old === undefined ? { tag } : { tag, old }
  }

  /** Removes a tag; resolves to what it named, undefined if there is none. What is left of one whose removal broke off goes as well. */
  removeTag(name: Name, tag: Tag): Promise<Digest | undefined> {
    return this.#locked(name, async () => {
      const old = await this.#tags.resolve(name, tag)
      await this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name))
      return old
    })
  }

  /** Removes a manifest and every tag that names it; resolves to those tags. The tags go first: none may be left that leads nowhere. */
  removeManifest(name: Name, digest: Digest, subject: Digest | undefined): Promise<Tag[]> {
    return this.#locked(name, async () => {
      const tags = await this.#tags.pointingAt(name, digest)
      for (const tag of tags) await this.#links.remove(await this.#tags.keysOf(name, tag), keys.tags(name))
      await this.#links.remove([keys.revision(name, digest)], keys.revisions(name))
      if (subject) await this.#links.remove([keys.referrer(name, subject, digest)], keys.repository(name))
      return tags
    })
  }
}
