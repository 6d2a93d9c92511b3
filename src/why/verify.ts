import { kindOfChild } from '../content/content.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type BlobNode, walkGraph } from '../oci/graph.ts'
import type { Name } from '../oci/name.ts'
import { MalformedReference, parsePodReference } from '../oci/pod-reference.ts'
import type { Manifest } from '../oci/source.ts'
import { type Inspection, type InspectionDepth, inspectBlob, inspectManifest } from './inspect.ts'
import { resolveReference, type WhyContext } from './resolve.ts'

/** A part of an image that is missing or damaged. */
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
  /** Why the reference could not be verified. */
  fault?: string
}

/** Looks for all that each reference leads to in the storage, and yields one result each. Sends no request upstream. */
export async function* verify(
  references: readonly string[],
  context: WhyContext,
  { depth, signal }: { depth: 'size' | 'digest'; signal: AbortSignal }
): AsyncGenerator<VerifyResult, void> {
  // Images share blobs; each is inspected once.
  const inspections = new Map<string, Promise<Inspection>>()
  for (const reference of references) {
    signal.throwIfAborted()
    const options = { depth: depth === 'size' ? depth : { until: signal }, inspections }
    yield await new Verification(context, options).run(reference, signal)
  }
}

class Verification {
  readonly #context: WhyContext
  readonly #depth: InspectionDepth
  readonly #inspections: Map<string, Promise<Inspection>>
  readonly #counts = { manifests: 0, blobs: 0, bytes: 0 }
  readonly #defects: Defect[] = []

  constructor(context: WhyContext, { depth, inspections }: { depth: InspectionDepth; inspections: Map<string, Promise<Inspection>> }) {
    this.#context = context
    this.#depth = depth
    this.#inspections = inspections
  }

  async run(text: string, signal: AbortSignal): Promise<VerifyResult> {
    try {
      const parsed = parsePodReference(text)
      const target = resolveReference(parsed, this.#context)
      if (target === 'unknown-host') return this.#result(text, { fault: 'this registry does not serve that host' })
      const { reference } = parsed
      const digest = reference.digest ?? (await this.#context.content.tags.resolve(target.storedName, reference.tag))
      if (digest) await this.#walk(target.storedName, digest, signal)
      else this.#defects.push({ kind: 'tag', state: 'missing' })
      return this.#result(text, digest ? { digest } : {})
    } catch (error) {
      if (error instanceof MalformedReference) return this.#result(text, { fault: error.message })
      if (isTooDeep(error)) return this.#result(text, { fault: 'its manifests are nested too deep' })
      throw error
    }
  }

  #result(reference: string, more: { digest?: Digest; fault?: string }): VerifyResult {
    return { reference, complete: this.#defects.length === 0 && more.fault === undefined, ...more, ...this.#counts, lacks: this.#defects }
  }

  async #walk(name: Name, digest: Digest, signal: AbortSignal): Promise<void> {
    const root = await this.#manifest(name, digest)
    if (!root) return
    await walkGraph(root, {
      order: 'parents-first',
      signal,
      read: async ({ descriptor, role }) => {
        if (role === 'child' && (await kindOfChild(this.#context.content, name, descriptor)) === 'blob') return 'blob'
        return (await this.#manifest(name, descriptor.digest))?.bytes
      },
      visit: async node => {
        if (node.kind === 'blob') return this.#blob(name, node)
        this.#counts.manifests++
        this.#counts.bytes += node.bytes.length
      }
    })
  }

  async #manifest(name: Name, digest: Digest): Promise<Manifest | undefined> {
    const { inspection, manifest } = await inspectManifest(this.#context, name, digest, this.#depth)
    if (inspection.state !== 'here') this.#defects.push({ kind: 'manifest', digest, state: inspection.state })
    return manifest
  }

  async #blob(name: Name, { descriptor: { digest, size }, nonDistributable }: BlobNode): Promise<void> {
    const key = `${name} ${digest}`
    const inspected = this.#inspections.get(key) ?? inspectBlob(this.#context.content, name, digest, this.#depth)
    this.#inspections.set(key, inspected)
    const { state } = await inspected
    if (state === 'here') {
      this.#counts.blobs++
      this.#counts.bytes += size
    } else if (!nonDistributable) this.#defects.push({ kind: 'blob', digest, size, state })
  }
}

function isTooDeep(error: unknown): boolean {
  return error instanceof OciError && error.code === 'MANIFEST_INVALID'
}
