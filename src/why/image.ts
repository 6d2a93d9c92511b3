import { kindOfChild } from '../content/content.ts'
import { blob as blobKey } from '../content/keys.ts'
import { type Descriptor, isManifestType, isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { type ManifestPart, partsOf } from '../oci/graph.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Manifest } from '../oci/source.ts'
import { UpstreamError } from '../upstream/error.ts'
import { type Inspection, type InspectionDepth, inspectBlob, inspectManifest, storageLocation } from './inspect.ts'
import { attempt } from './probe.ts'
import type { BlobLine, ContentState, ManifestLine } from './report.ts'
import type { ResolvedReference, ResolvedUpstream, WhyContext } from './resolve.ts'

// An index of ten platforms takes about a hundred requests; past the limit content is reported as not known.
const maxUpstreamRequests = 200
const blobsAtOnce = 4

type Found = { state: ContentState; note?: string }
type NeededBlob = Pick<Extract<ManifestPart, { kind: 'blob' }>, 'descriptor' | 'nonDistributable'>

/** Looks for everything that a manifest refers to, in the storage and upstream, and stores nothing. */
export class ImageInspection {
  readonly #context: WhyContext
  readonly #target: ResolvedReference
  readonly #depth: InspectionDepth
  readonly #signal: AbortSignal
  readonly #blobs = new Map<Digest, Promise<Found>>()
  #upstreamRequests = 0
  /** The first error of the upstream other than "not found"; after it the upstream gets no further request. */
  upstreamError: UpstreamError | undefined

  constructor(context: WhyContext, target: ResolvedReference, { depth, signal }: { depth: InspectionDepth; signal: AbortSignal }) {
    this.#context = context
    this.#target = target
    this.#depth = depth
    this.#signal = signal
  }

  /**
   * The root itself, with the blobs that an index lists, or each manifest of an image index; `state` is where the root
   * is.
   */
  async lines({ descriptor, bytes }: Manifest, state: ContentState): Promise<ManifestLine[]> {
    const { digest, size } = descriptor
    const children = manifestParts(bytes)
    if (children.length === 0) return [{ digest, size, state, blobs: await this.#blobLines(blobParts(bytes)) }]
    const lines: ManifestLine[] = []
    const blobs: NeededBlob[] = []
    for (const { descriptor, platform } of children) {
      if (await this.#isBlob(descriptor)) blobs.push({ descriptor, nonDistributable: isNonDistributable(descriptor.mediaType) })
      else lines.push({ ...(await this.#line(descriptor)), ...(platform === undefined ? {} : { platform }) })
    }
    return blobs.length === 0 ? lines : [{ digest, size, state, blobs: await this.#blobLines(blobs) }, ...lines]
  }

  async #isBlob(child: Descriptor): Promise<boolean> {
    const { mode, storedName } = this.#target
    return mode === 'Direct' ? !isManifestType(child.mediaType) : (await kindOfChild(this.#context.content, storedName, child)) === 'blob'
  }

  async #line({ digest, size }: Descriptor): Promise<ManifestLine> {
    const stored = await this.#stored(digest)
    if (stored.manifest) return { digest, size, state: 'here', blobs: await this.#blobLines(blobParts(stored.manifest.bytes)) }
    const found = await this.#request(({ upstream }, name) => upstream.fetchManifest(name, { digest }, { signal: this.#signal }))
    if (typeof found === 'object' && found.value !== 'not-modified')
      return { digest, size, state: 'upstream', blobs: await this.#blobLines(blobParts(found.value.bytes)) }
    return { digest, size, ...merge(stored.inspection, typeof found === 'string' ? found : 'unknown'), blobs: [] }
  }

  async #stored(digest: Digest): Promise<{ inspection: Inspection; manifest?: Manifest }> {
    const { mode, storedName } = this.#target
    return mode === 'Direct' ? { inspection: { state: 'missing' } } : inspectManifest(this.#context, storedName, digest, this.#depth)
  }

  async #blobLines(parts: readonly NeededBlob[]): Promise<BlobLine[]> {
    const lines: { line: BlobLine; nonDistributable: boolean }[] = []
    for (let at = 0; at < parts.length; at += blobsAtOnce) {
      const batch = parts.slice(at, at + blobsAtOnce).map(async ({ descriptor, nonDistributable }) => {
        const { digest, size } = descriptor
        return { line: { digest, size, ...(await this.#blob(descriptor)) }, nonDistributable }
      })
      lines.push(...(await Promise.all(batch)))
    }
    return lines.filter(({ line, nonDistributable }) => !nonDistributable || line.state === 'here').map(({ line }) => line)
  }

  #blob(descriptor: Descriptor): Promise<Found> {
    const found = this.#blobs.get(descriptor.digest) ?? this.#findBlob(descriptor)
    this.#blobs.set(descriptor.digest, found)
    return found
  }

  async #findBlob({ digest }: Descriptor): Promise<Found> {
    const { content, config } = this.#context
    const { mode, storedName } = this.#target
    const inspection: Inspection = mode === 'Direct' ? { state: 'missing' } : await inspectBlob(content, storedName, digest, this.#depth)
    if (inspection.state === 'here')
      return inspection.checked === 'size' && this.#depth !== 'size' ? { state: 'here', note: 'bytes not verified' } : { state: 'here' }
    if (inspection.state === 'damaged' && inspection.damage === 'unnoticed')
      return { state: 'damaged', note: `${storageLocation(config)}/${blobKey(digest)}` }
    const found = await this.#request(({ upstream }, name) => upstream.checkBlob(name, digest, this.#signal))
    return merge(inspection, typeof found === 'object' ? 'upstream' : found)
  }

  async #request<T>(send: (route: ResolvedUpstream['route'], name: string) => Promise<T>): Promise<{ value: T } | 'missing' | 'unknown'> {
    const { upstream, name } = this.#target
    const upstreamName = upstream?.route.upstreamName(name)
    if (!upstream || upstreamName === undefined) return 'missing'
    if (this.upstreamError || ++this.#upstreamRequests > maxUpstreamRequests) return 'unknown'
    const result = await attempt(send(upstream.route, upstreamName), this.#signal)
    if (!(result instanceof UpstreamError)) return { value: result }
    if (result.kind === 'not-found') return 'missing'
    this.upstreamError ??= result
    return 'unknown'
  }
}

function manifestParts(bytes: Uint8Array): Extract<ManifestPart, { kind: 'manifest' }>[] {
  const parsed = readManifest(bytes)
  return (parsed ? partsOf(parsed) : []).filter(part => part.kind === 'manifest').filter(({ role }) => role === 'child')
}

function blobParts(bytes: Uint8Array): NeededBlob[] {
  const parsed = readManifest(bytes)
  return (parsed ? partsOf(parsed) : []).filter(part => part.kind === 'blob')
}

// A damaged copy is passed over where the upstream has the content, and replaced by the next pull.
function merge({ state }: Inspection, upstream: 'upstream' | 'missing' | 'unknown'): Found {
  if (state !== 'damaged') return { state: upstream }
  return upstream === 'upstream' ? { state: 'upstream', note: 'the copy here is damaged' } : { state: 'damaged' }
}
