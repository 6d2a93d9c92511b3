import type { Content } from '../content/content.ts'
import * as keys from '../content/keys.ts'
import { isNonDistributable } from '../oci/descriptor.ts'
import { type Algorithm, algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type ParsedManifest, parseManifest, readManifest } from '../oci/manifest.ts'
import type { Name, Reference, Tag } from '../oci/name.ts'
import type { PutManifest, SessionId, Sink, UploadSession } from '../oci/sink.ts'
import { notStored, unknownBlob } from './errors.ts'

// An image has some tens of layers.
const concurrentChecks = 8

/** Pushes into the content. */
export class LocalSink implements Sink {
  readonly #content: Content

  constructor(content: Content) {
    this.#content = content
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
      await this.#checkContent(name, parsed)
      const before = await this.#checkNotRemoved(name, parsed, since)
      const set = await this.#content.commit.putManifest(name, actual, bytes, { ...(subject ? { subject } : {}), tags: [...new Set(all)] })
      // A garbage collection of another process that began meanwhile may not have seen the manifest.
      if (before === 'unchanged') await this.#checkNotRemoved(name, parsed, since)
      return { digest: actual, tags: set, ...(subject ? { subject } : {}) }
    } finally {
      release()
    }
  }

  // A manifest is accepted if the repository has everything it needs; its subject may come later (distribution-spec,
  // "Push").
  async #checkContent(name: Name, { blobs, manifests }: ParsedManifest): Promise<void> {
    const content = this.#content
    const needed = [
      ...blobs
        .filter(each => !isNonDistributable(each.mediaType))
        .map(each => ({ ...each, size: () => content.blobs.stat(name, each.digest), expected: each.size })),
      ...manifests.map(each => ({
        ...each,
        size: async () => (await content.manifests.get(name, each.digest))?.descriptor.size,
        expected: each.size
      }))
    ]
    const missing: string[] = []
    for (let at = 0; at < needed.length; at += concurrentChecks) {
      await Promise.all(
        needed.slice(at, at + concurrentChecks).map(async ({ digest, size, expected }) => {
          const stored = await size()
          if (stored === undefined) missing.push(digest)
          else if (stored !== expected)
            throw new OciError('SIZE_INVALID', { detail: { reason: 'the descriptor has another size', digest, expected, stored } })
        })
      )
    }
    if (missing.length > 0) throw new OciError('MANIFEST_BLOB_UNKNOWN', { detail: { missing } })
  }

  // The deletion barrier for what the manifest needs.
  async #checkNotRemoved(name: Name, { blobs, manifests }: ParsedManifest, since: number): Promise<'unchanged' | 'changed'> {
    const { barrier } = this.#content
    if (await barrier.isUnchanged(since)) return 'unchanged'
    const needed = [
      ...blobs.filter(each => !isNonDistributable(each.mediaType)).map(({ digest }) => ({ link: keys.layer(name, digest), digest })),
      ...manifests.map(({ digest }) => ({ link: keys.revision(name, digest), digest }))
    ]
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
