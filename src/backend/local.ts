import type { RedirectPolicy } from '../content/blobs.ts'
import type { Content } from '../content/content.ts'
import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name, Reference } from '../oci/name.ts'
import type { Sink } from '../oci/sink.ts'
import type { BlobLocation, BlobRequest, Manifest, OpenBlob, Page, PageRequest, Served } from '../oci/source.ts'
import type { Backend } from './backend.ts'
import { notStored, unknownBlob, unknownName } from './errors.ts'

/** Local mode: the stored content is the authoritative copy. */
export class LocalBackend implements Backend {
  readonly mode = 'Local'
  readonly sink: Sink
  readonly #content: Content
  readonly #redirect: RedirectPolicy | undefined

  constructor(content: Content, sink: Sink, redirect?: RedirectPolicy) {
    this.#content = content
    this.#redirect = redirect
    this.sink = sink
  }

  async statBlob(name: Name, digest: Digest): Promise<Served<Descriptor>> {
    // A client that gets a 200 may skip the blob and push its manifest.
    const size = await this.#content.blobs.statRenewed(name, digest)
    if (size === undefined) throw unknownBlob(name, digest)
    return hit({ mediaType: mediaTypes.blob, digest, size })
  }

  openBlob(name: Name, digest: Digest, want: BlobRequest & { redirect?: never }): Promise<Served<OpenBlob>>
  openBlob(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>>
  async openBlob(name: Name, digest: Digest, { range, redirect }: BlobRequest): Promise<Served<OpenBlob | BlobLocation>> {
    const { blobs, lastAccess } = this.#content
    const blob =
      redirect && this.#redirect
        ? await blobs.openOrLocate(name, digest, { ...this.#redirect, range })
        : await blobs.open(name, digest, range)
    if (!blob) throw unknownBlob(name, digest)
    lastAccess.record(name, digest)
    return hit(blob)
  }

  async statManifest(name: Name, reference: Reference): Promise<Served<Descriptor>> {
    if (reference.digest !== undefined) await this.#content.holds.renew(reference.digest)
    const { descriptor } = await findManifest(this.#content, name, reference)
    this.#content.lastAccess.record(name, descriptor.digest)
    return hit(descriptor)
  }

  async getManifest(name: Name, reference: Reference): Promise<Served<Manifest>> {
    const manifest = await findManifest(this.#content, name, reference)
    // The client requests the blobs of the manifest next.
    this.#content.sizes.learn(manifest.descriptor.digest, manifest.bytes)
    this.#content.lastAccess.record(name, manifest.descriptor.digest)
    return hit(manifest)
  }

  async listTags(name: Name, page: PageRequest): Promise<Served<Page<string>>> {
    if (!(await this.#content.names.has(name))) throw unknownName(name)
    return hit(await this.#content.tags.list(name, page))
  }

  async listReferrers(name: Name, subject: Digest, want: PageRequest & { artifactType?: string }): Promise<Served<Page<Descriptor>>> {
    return hit(await this.#content.referrers.list(name, subject, want))
  }

  async listNames(page: PageRequest): Promise<Served<Page<string>>> {
    return hit(await this.#content.names.list(page))
  }
}

function hit<T>(value: T): Served<T> {
  return { value, outcome: 'hit' }
}

async function findManifest(content: Content, name: Name, reference: Reference): Promise<Manifest> {
  const digest = reference.digest ?? (await content.tags.resolve(name, reference.tag))
  const manifest = digest && (await content.manifests.get(name, digest))
  if (manifest) return manifest
  throw await notStored(content, name, reference)
}
