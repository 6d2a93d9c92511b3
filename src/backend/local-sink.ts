import type { Key } from '../../storage/storage.ts'
import type { Content } from '../content/content.ts'
import * as keys from '../content/keys.ts'
import type { ReportedContent } from '../content/shared/coordination.ts'
import { isNonDistributable } from '../oci/descriptor.ts'
import { type Algorithm, algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type ParsedManifest, parseManifest, readManifest } from '../oci/manifest.ts'
import type { Name, Reference, Tag } from '../oci/name.ts'
import type { PutManifest, SessionId, Sink, UploadSession } from '../oci/sink.ts'
import { notStored, unknownBlob } from './errors.ts'

// An image has some tens of layers.
const concurrentChecks = 8

/** What a push has to be like beyond the specification. */
export interface PushPolicy {
  /** Whether a descriptor of another size than the content has is refused. */
  strictSizes: boolean
}

/** Pushes into the content. */
export class LocalSink implements Sink {
  readonly #content: Content
  readonly #policy: PushPolicy

  constructor(content: Content, policy: PushPolicy = { strictSizes: false }) {
    this.#content = content
    this.#policy = policy
  }

  startUpload(name: Name, algorithm?: Algorithm): Promise<UploadSession> {
    return this.#content.uploads.start(name, algorithm)
  }

  resumeUpload(name: Name, id: SessionId): Promise<UploadSession> {
    return this.#content.uploads.resume(name, id)
  }

  mountBlob(name: Name, digest: Digest, from?: Name): Promise<boolean> {
    return this.#content.holds.during(digest, () => this.#mount(name, digest, from))
  }

  async #mount(name: Name, digest: Digest, from: Name | undefined): Promise<boolean> {
    const { blobs, commit } = this.#content
    if ((await blobs.statRenewed(name, digest)) !== undefined) return true
    // "Automatic content discovery": the API allows it to those who may pull from all repositories.
    const target = from === undefined ? await this.#stored(digest) : await this.#soundIn(from, digest)
    if (target === undefined) return false
    await commit.linkBlob(name, digest, { target })
    // The blob is checked through its new link like any other; a damaged one has to be pushed again.
    if ((await blobs.statRenewed(name, digest)) !== undefined) return true
    await commit.unlinkBlob(name, digest)
    return false
  }

  async #stored(digest: Digest): Promise<Digest | undefined> {
    return (await this.#content.blobs.stored(digest)) ? digest : undefined
  }

  async #soundIn(name: Name, digest: Digest): Promise<Digest | undefined> {
    const { blobs } = this.#content
    return (await blobs.stat(name, digest)) === undefined ? undefined : blobs.linked(name, digest)
  }

  async putManifest(
    name: Name,
    reference: Reference,
    { mediaType, bytes }: { mediaType?: string; bytes: Uint8Array },
    tags: readonly Tag[]
  ): Promise<PutManifest> {
    const parsed = parseManifest(bytes, mediaType)
    const actual = digestOf(bytes, reference.digest && algorithmOf(reference.digest))
    if (reference.digest !== undefined && reference.digest !== actual) {
      throw new OciError('DIGEST_INVALID', { detail: { reason: 'the manifest has another digest', provided: reference.digest, actual } })
    }
    const subject = parsed.subject?.digest
    const all = reference.tag === undefined ? tags : [reference.tag, ...tags]
    // What the check finds must not be removed before the manifest is committed.
    const release = await this.#content.holds.holdAll([...parsed.blobs, ...parsed.manifests].map(each => each.digest))
    try {
      const since = await this.#content.barrier.readEpoch()
      const needed = await this.#findContent(name, parsed)
      const before = await this.#checkNotRemoved(needed, since)
      const document = { mediaType: parsed.mediaType, parsed }
      const about = { document, ...(subject ? { subject } : {}), tags: [...new Set(all)] }
      const set = await this.#content.commit.putManifest(name, actual, bytes, about)
      // A garbage collection of another process that began meanwhile may not have seen the manifest.
      if (before === 'unchanged') await this.#checkNotRemoved(needed, since)
      return { digest: actual, tags: set, ...(subject ? { subject } : {}) }
    } finally {
      release()
    }
  }

  // A manifest is accepted if the repository has everything it needs, wrong sizes in descriptors or not, as with CNCF
  // Distribution; its subject may come later (distribution-spec, "Push").
  async #findContent(name: Name, { blobs, manifests }: ParsedManifest): Promise<ReportedContent[]> {
    const needed = [
      ...blobs.map(descriptor => ({ descriptor, find: () => this.#findBlob(name, descriptor.digest) })),
      ...manifests.map(descriptor => ({ descriptor, find: () => this.#findChild(name, descriptor.digest) }))
    ].filter(({ descriptor }) => !isNonDistributable(descriptor.mediaType))
    const found: ReportedContent[] = []
    const missing: Digest[] = []
    for (let at = 0; at < needed.length; at += concurrentChecks) {
      await Promise.all(
        needed.slice(at, at + concurrentChecks).map(async ({ descriptor: { digest, size }, find }) => {
          const stored = await find()
          if (!stored) return void missing.push(digest)
          if (this.#policy.strictSizes && stored.size !== size) throw wrongSize(digest, size, stored.size)
          found.push({ link: stored.link, digest })
        })
      )
    }
    if (missing.length > 0) throw new OciError('MANIFEST_BLOB_UNKNOWN', { detail: { missing } })
    return found
  }

  async #findBlob(name: Name, digest: Digest): Promise<{ size: number; link: Key } | undefined> {
    const size = await this.#content.blobs.stat(name, digest)
    return size === undefined ? undefined : { size, link: keys.layer(name, digest) }
  }

  // An index may list blobs, as BuildKit's cache of layers does: what is there under the digest counts.
  async #findChild(name: Name, digest: Digest): Promise<{ size: number; link: Key } | undefined> {
    const manifest = await this.#content.manifests.get(name, digest)
    return manifest ? { size: manifest.descriptor.size, link: keys.revision(name, digest) } : this.#findBlob(name, digest)
  }

  // The deletion barrier for what the manifest needs.
  async #checkNotRemoved(needed: readonly ReportedContent[], since: number): Promise<'unchanged' | 'changed'> {
    const { barrier } = this.#content
    if (await barrier.isUnchanged(since)) return 'unchanged'
    const missing = (await barrier.findRemoved(needed, since)).map(each => each.digest)
    if (missing.length > 0) throw new OciError('MANIFEST_BLOB_UNKNOWN', { detail: { missing } })
    return 'changed'
  }

  async deleteBlob(name: Name, digest: Digest): Promise<void> {
    if ((await this.#content.blobs.linked(name, digest)) === undefined) throw unknownBlob(name, digest)
    await this.#content.commit.unlinkBlob(name, digest)
  }

  async deleteManifest(name: Name, reference: Reference): Promise<{ digest: Digest; tags: Tag[] }> {
    if (reference.tag !== undefined) {
      const digest = await this.#content.commit.removeTag(name, reference.tag)
      if (digest !== undefined) return { digest, tags: [reference.tag] }
      throw await notStored(this.#content, name, reference)
    }
    const { digest } = reference
    const { manifests, commit } = this.#content
    // A damaged manifest can be deleted too; its subject is unknown then.
    if (!(await manifests.linked(name, digest))) throw await notStored(this.#content, name, reference)
    const manifest = await manifests.get(name, digest)
    const subject = manifest && readManifest(manifest.bytes)?.subject?.digest
    return { digest, tags: await commit.removeManifest(name, digest, subject) }
  }
}

function wrongSize(digest: Digest, expected: number, stored: number): OciError {
  return new OciError('SIZE_INVALID', { detail: { reason: 'the descriptor has another size', digest, expected, stored } })
}
