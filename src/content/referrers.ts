import type { Storage } from '../../storage/storage.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { algorithmOf, type Digest, encodedOf } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import { type Name, parseTag, type Tag } from '../oci/name.ts'
import type { Page, PageRequest } from '../oci/source.ts'
import * as keys from './keys.ts'
import type { Manifests } from './manifests.ts'
import type { Tags } from './tags.ts'
import { listDigests } from './walk.ts'

// Clients refuse manifests of more than 4 MiB, and the list is an image index.
const maxPageBytes = 3 * 1024 * 1024

/** Manifests that have another one as their subject. */
export class Referrers {
  readonly #storage: Storage
  readonly #manifests: Manifests
  readonly #tags: Tags

  constructor(storage: Storage, manifests: Manifests, tags: Tags) {
    this.#storage = storage
    this.#manifests = manifests
    this.#tags = tags
  }

  /** Ordered by digest; those of `artifactType` only, if one is given. */
  async list(
    name: Name,
    subject: Digest,
    { n, last = '', artifactType }: PageRequest & { artifactType?: string }
  ): Promise<Page<Descriptor>> {
    const items: Descriptor[] = []
    let bytes = 0
    if (n === 0) return { items }
    for (const digest of await this.#digests(name, subject)) {
      const descriptor = digest > last ? await this.#describe(name, subject, digest) : undefined
      if (!descriptor || (artifactType !== undefined && descriptor.artifactType !== artifactType)) continue
      bytes += Buffer.byteLength(JSON.stringify(descriptor))
      const next = items.at(-1)?.digest
      if (next !== undefined && (items.length === n || bytes > maxPageBytes)) return { items, next }
      items.push(descriptor)
    }
    return { items }
  }

  async #digests(name: Name, subject: Digest): Promise<Digest[]> {
    const found = new Set<Digest>(await this.#fallback(name, subject))
    for await (const digest of listDigests(this.#storage, keys.referrers(name, subject))) found.add(digest)
    return [...found].sort()
  }

  // Pushed to a registry without the referrers API: the client kept the list itself, as an image index under a tag
  // (distribution-spec, "Enabling the Referrers API").
  async #fallback(name: Name, subject: Digest): Promise<Digest[]> {
    const digest = await this.#tags.resolve(name, referrersTag(subject))
    const manifest = digest && (await this.#manifests.get(name, digest))
    return (manifest && readManifest(manifest.bytes)?.manifests.map(each => each.digest)) ?? []
  }

  async #describe(name: Name, subject: Digest, digest: Digest): Promise<Descriptor | undefined> {
    const manifest = await this.#manifests.get(name, digest)
    const parsed = manifest && readManifest(manifest.bytes)
    if (!parsed || parsed.subject?.digest !== subject) return undefined
    const { artifactType, annotations } = parsed
    return {
      ...manifest.descriptor,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations })
    }
  }
}

/**
 * The tag under which clients keep the referrers of `subject` in registries that do not list them (distribution-spec,
 * "Referrers Tag Schema").
 */
export function referrersTag(subject: Digest): Tag {
  return parseTag(`${algorithmOf(subject)}-${encodedOf(subject).slice(0, 64)}`)
}
