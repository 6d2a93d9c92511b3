import { blob as blobKey } from '../content/keys.ts'
import { type Descriptor, isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Manifest } from '../oci/source.ts'
import { UpstreamError } from '../upstream/error.ts'
import { type Inspection, type InspectionDepth, inspectBlob, inspectManifest } from './inspect.ts'
import { attempt } from './probe.ts'
import type { BlobLine, ContentState, ManifestLine } from './report.ts'
import type { ResolvedReference, WhyContext } from './resolve.ts'
import { storageLocation } from './where.ts'

// An index of ten platforms takes about a hundred; what is beyond is said to be unknown and not asked for.
const mostQuestions = 200
const atOnce = 4

type Found = { state: ContentState; note?: string }

/** Looks at everything that a manifest leads to, in the store and upstream, and keeps nothing. */
export class ImageInspection {
  readonly #view: WhyContext
  readonly #place: ResolvedReference
  readonly #depth: InspectionDepth
  readonly #signal: AbortSignal
  readonly #blobs = new Map<Digest, Promise<Found>>()
  #questions = 0
  /** The first answer of the upstream that was no answer; after it nothing more is asked. */
  upstreamError: UpstreamError | undefined

  constructor(view: WhyContext, place: ResolvedReference, { depth, signal }: { depth: InspectionDepth; signal: AbortSignal }) {
    this.#view = view
    this.#place = place
    this.#depth = depth
    this.#signal = signal
  }

  /** The manifest that `root` is, or each of those in it if it is an index; `state` is where the root itself is. */
  async lines({ descriptor, bytes }: Manifest, state: ContentState): Promise<ManifestLine[]> {
    const { manifests = [] } = readManifest(bytes) ?? {}
    if (manifests.length === 0) return [{ digest: descriptor.digest, size: descriptor.size, state, blobs: await this.#blobsOf(bytes) }]
    const lines: ManifestLine[] = []
    for (const each of manifests) {
      const { platform } = each
      lines.push({ ...(await this.#line(each)), ...(platform === undefined ? {} : { platform }) })
    }
    return lines
  }

  async #line({ digest, size }: Descriptor): Promise<ManifestLine> {
    const stored = await this.#stored(digest)
    if (stored.manifest) return { digest, size, state: 'here', blobs: await this.#blobsOf(stored.manifest.bytes) }
    const asked = await this.#ask((upstream, there) => upstream.fetchManifest(there, { digest }, { signal: this.#signal }))
    if (typeof asked === 'object' && asked.value !== 'not-modified')
      return { digest, size, state: 'upstream', blobs: await this.#blobsOf(asked.value.bytes) }
    return { digest, size, ...merge(stored.look, typeof asked === 'string' ? asked : 'unknown'), blobs: [] }
  }

  async #stored(digest: Digest): Promise<{ look: Inspection; manifest?: Manifest }> {
    const { mode, storedName: stored } = this.#place
    return mode === 'Direct' ? { look: { state: 'missing' } } : inspectManifest(this.#view, stored, digest, this.#depth)
  }

  async #blobsOf(manifest: Uint8Array): Promise<BlobLine[]> {
    const wanted = readManifest(manifest)?.blobs ?? []
    const lines: BlobLine[] = []
    for (let at = 0; at < wanted.length; at += atOnce) {
      const some = wanted.slice(at, at + atOnce)
      lines.push(...(await Promise.all(some.map(async each => ({ digest: each.digest, size: each.size, ...(await this.#blob(each)) })))))
    }
    const foreign = new Set(wanted.filter(({ mediaType }) => isNonDistributable(mediaType)).map(({ digest }) => digest))
    return lines.filter(({ digest, state }) => !foreign.has(digest as Digest) || state === 'here')
  }

  #blob(wanted: Descriptor): Promise<Found> {
    const known = this.#blobs.get(wanted.digest) ?? this.#findBlob(wanted)
    this.#blobs.set(wanted.digest, known)
    return known
  }

  async #findBlob(wanted: Descriptor): Promise<Found> {
    const { content, config } = this.#view
    const { mode, storedName: stored } = this.#place
    const look: Inspection = mode === 'Direct' ? { state: 'missing' } : await inspectBlob(content, stored, wanted, this.#depth)
    if (look.state === 'here')
      return look.checked === 'size' && this.#depth !== 'size' ? { state: 'here', note: 'bytes not checked' } : { state: 'here' }
    if (look.state === 'damaged' && look.damage === 'unnoticed')
      return { state: 'damaged', note: `${storageLocation(config)}/${blobKey(wanted.digest)}` }
    const asked = await this.#ask((upstream, there) => upstream.checkBlob(there, wanted.digest, this.#signal))
    return merge(look, typeof asked === 'object' ? 'upstream' : asked)
  }

  async #ask<T>(
    question: (upstream: NonNullable<ResolvedReference['upstream']>['route']['upstream'], there: string) => Promise<T>
  ): Promise<{ value: T } | 'missing' | 'unknown'> {
    const { upstream: behind, name } = this.#place
    const there = behind?.route.upstreamName(name)
    if (!behind || there === undefined) return 'missing'
    if (this.upstreamError || ++this.#questions > mostQuestions) return 'unknown'
    const answer = await attempt(question(behind.route.upstream, there), this.#signal)
    if (!(answer instanceof UpstreamError)) return { value: answer }
    if (answer.kind === 'not-found') return 'missing'
    this.upstreamError ??= answer
    return 'unknown'
  }
}

// A damaged copy is passed over where the upstream has the content, and replaced by the next pull.
function merge({ state }: Inspection, asked: 'upstream' | 'missing' | 'unknown'): Found {
  if (state !== 'damaged') return { state: asked }
  return asked === 'upstream' ? { state: 'upstream', note: 'the copy here is damaged' } : { state: 'damaged' }
}
