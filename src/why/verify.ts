import { type Descriptor, isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Name } from '../oci/name.ts'
import { MalformedReference, parsePodReference } from '../oci/pod-reference.ts'
import type { Manifest } from '../oci/source.ts'
import { type Inspection, type InspectionDepth, inspectBlob, inspectManifest } from './inspect.ts'
import { resolveReference, type WhyContext } from './resolve.ts'

/** A part of an image that is not stored as it should be. */
export interface Defect {
  kind: 'tag' | 'manifest' | 'blob'
  digest?: string
  size?: number
  state: 'missing' | 'damaged'
}

/** Whether everything that one reference leads to is stored. */
export interface VerifyResult {
  reference: string
  complete: boolean
  digest?: string
  manifests: number
  blobs: number
  /** Of the manifests and blobs that are stored, each counted once. */
  bytes: number
  lacks: Defect[]
  /** Why nothing could be looked for. */
  fault?: string
}

/** Looks for each reference in the store, one result after the other; indexes are followed. Nobody is asked. */
export async function* verify(
  references: readonly string[],
  view: WhyContext,
  { depth, signal }: { depth: 'size' | 'digest'; signal: AbortSignal }
): AsyncGenerator<VerifyResult, void> {
  // The same blobs stand in many images; they are looked at once.
  const looks = new Map<string, Promise<Inspection>>()
  for (const reference of references) {
    signal.throwIfAborted()
    yield await new Verification(view, { depth: depth === 'size' ? 'size' : { until: signal }, looks }).run(reference, signal)
  }
}

class Verification {
  readonly #view: WhyContext
  readonly #depth: InspectionDepth
  readonly #looks: Map<string, Promise<Inspection>>
  readonly #seen = new Set<Digest>()
  readonly #counts = { manifests: 0, blobs: 0, bytes: 0 }
  readonly #lacks: Defect[] = []

  constructor(view: WhyContext, { depth, looks }: { depth: InspectionDepth; looks: Map<string, Promise<Inspection>> }) {
    this.#view = view
    this.#depth = depth
    this.#looks = looks
  }

  async run(text: string, signal: AbortSignal): Promise<VerifyResult> {
    try {
      const asked = parsePodReference(text)
      const place = resolveReference(asked, this.#view)
      if (place === 'unknown-host') return this.#result(text, { fault: 'this registry does not serve that host' })
      const { reference } = asked
      const digest = reference.digest ?? (await this.#view.content.tags.resolve(place.storedName, reference.tag))
      if (digest) await this.#manifest(place.storedName, digest, signal)
      else this.#lacks.push({ kind: 'tag', state: 'missing' })
      return this.#result(text, digest ? { digest } : {})
    } catch (error) {
      if (error instanceof MalformedReference) return this.#result(text, { fault: error.message })
      throw error
    }
  }

  #result(reference: string, more: { digest?: Digest; fault?: string }): VerifyResult {
    return { reference, complete: this.#lacks.length === 0 && more.fault === undefined, ...more, ...this.#counts, lacks: this.#lacks }
  }

  async #manifest(name: Name, digest: Digest, signal: AbortSignal): Promise<void> {
    if (this.#seen.has(digest)) return
    this.#seen.add(digest)
    const { look, manifest } = await inspectManifest(this.#view, name, digest, this.#depth)
    if (look.state !== 'here') this.#lacks.push({ kind: 'manifest', digest, state: look.state })
    if (!manifest) return
    this.#counts.manifests++
    this.#counts.bytes += manifest.descriptor.size
    await this.#below(name, manifest, signal)
  }

  async #below(name: Name, { bytes }: Manifest, signal: AbortSignal): Promise<void> {
    const { manifests = [], blobs = [] } = readManifest(bytes) ?? {}
    for (const { digest } of manifests) await this.#manifest(name, digest, signal)
    for (const each of blobs) {
      signal.throwIfAborted()
      await this.#blob(name, each)
    }
  }

  async #blob(name: Name, wanted: Descriptor): Promise<void> {
    const { digest, size, mediaType } = wanted
    if (this.#seen.has(digest)) return
    this.#seen.add(digest)
    const key = `${name} ${digest}`
    const known = this.#looks.get(key) ?? inspectBlob(this.#view.content, name, wanted, this.#depth)
    this.#looks.set(key, known)
    const { state } = await known
    if (state === 'here') {
      this.#counts.blobs++
      this.#counts.bytes += size
    } else if (!isNonDistributable(mediaType)) this.#lacks.push({ kind: 'blob', digest, size, state })
  }
}
