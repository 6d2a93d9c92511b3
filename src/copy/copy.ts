import { isWantedChild, readChild } from '../oci/children.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { OciError, reasonOf } from '../oci/errors.ts'
import { found, isAbsentAtTarget } from '../oci/found.ts'
import { type BlobNode, type ManifestLink, type ManifestNode, walkGraph } from '../oci/graph.ts'
import { mediaTypeOf, readManifest } from '../oci/manifest.ts'
import type { Name, Reference, Tag } from '../oci/name.ts'
import type { Sink } from '../oci/sink.ts'
import type { Manifest, Source } from '../oci/source.ts'
import { type CopyEvent, eventsOf } from './events.ts'
import { filterIndex } from './filter-index.ts'
import { transferBlob } from './transfer.ts'

/** What is copied. */
export interface CopySource {
  source: Source
  name: Name
  reference: Reference
}

/** Where it is copied to: a sink, and the source that tells what is there already. */
export interface CopyTarget {
  registry: Pick<Source, 'statBlob' | 'statManifest'> & { readonly sink: Sink }
  name: Name
  /** Set last, when everything is there; absent: the tag of the reference, if it is one. */
  tags?: readonly Tag[]
}

/** How a copy goes about it. */
export interface CopyOptions {
  /**
   * `os/architecture[/variant]`; empty or absent: all. An index from which others are left out is written anew, under
   * another digest.
   */
  platforms?: readonly string[]
  /** Whether manifests that have a copied one as their subject are copied too, with their own referrers. */
  referrers?: 'copy' | 'skip'
  /** Blobs and manifests at once, a positive integer; 4 if left out. */
  concurrency?: number
  /** A repository of the target from which blobs may be mounted. */
  mountFrom?: Name
  /** The largest request body for a blob, a positive integer; absent: the whole blob in one request. */
  chunkBytes?: number
  signal: AbortSignal
}

const defaultConcurrency = 4

/**
 * Copies a reference with everything that it needs: blobs before manifests, children before parents, tags last. What
 * the target has is passed over, so that a copy can be broken off and begun again. The copy runs while its events are
 * read, and ends when they are no longer read. A failure is the event `failed`; an aborted signal is thrown, and so is
 * a RangeError for options that cannot be.
 *
 * A manifest of an unknown kind fails the copy, before its tag is set: it may have parts that are not known here, and
 * `done` promises that everything is there.
 */
export async function* copy(from: CopySource, to: CopyTarget, options: CopyOptions): AsyncGenerator<CopyEvent, void> {
  checkPositive('concurrency', options.concurrency)
  checkPositive('chunkBytes', options.chunkBytes)
  yield* eventsOf('copy', options.signal, (signal, report) => new Copy(from, to, { ...options, signal, report }).run())
}

class Copy {
  readonly #from: CopySource
  readonly #to: CopyTarget
  readonly #options: CopyOptions & { report: (event: CopyEvent) => void }
  readonly #platforms: readonly string[]
  /** What is at the target in place of an index of the source. */
  readonly #rewritten = new Map<Digest, Descriptor>()
  readonly #children = new Map<Digest, { digest: Digest; mediaType: string; platform?: string }[]>()
  readonly #counts = { manifests: 0, blobs: 0, copiedBlobs: 0, copiedBytes: 0 }
  readonly #progress = { bytes: 0, knownBytes: 0 }
  /** The first node whose copy failed. */
  #failedAt: Digest | undefined

  constructor(from: CopySource, to: CopyTarget, options: CopyOptions & { report: (event: CopyEvent) => void }) {
    this.#from = from
    this.#to = to
    this.#options = options
    this.#platforms = options.platforms ?? []
  }

  async run(): Promise<void> {
    const { signal, report, concurrency = defaultConcurrency, referrers = 'skip' } = this.#options
    try {
      const root = await this.#root()
      await walkGraph(root, {
        read: (link, inner) => this.#read(link, inner),
        visit: (node, inner) => this.#visit(node, inner),
        order: 'children-first',
        concurrency,
        platforms: this.#platforms,
        ...(referrers === 'copy' ? { referrers: (subject, inner) => this.#referrers(subject, inner) } : {}),
        signal
      })
      await this.#finish(root)
    } catch (error) {
      signal.throwIfAborted()
      report({ type: 'failed', reason: reasonOf(error), error, ...(this.#failedAt === undefined ? {} : { digest: this.#failedAt }) })
    }
  }

  async #root(): Promise<Manifest> {
    const { source, name, reference } = this.#from
    const { value } = await source.getManifest(name, reference, { signal: this.#options.signal })
    this.#learn(value.descriptor.digest, value.bytes)
    return value
  }

  async #read({ descriptor, role }: ManifestLink, signal: AbortSignal): Promise<Uint8Array | 'blob'> {
    const { source, name } = this.#from
    const { digest } = descriptor
    const readManifest = async () => (await source.getManifest(name, { digest }, { signal: this.#options.signal })).value.bytes
    try {
      const bytes = role === 'child' ? await readChild({ source, name, descriptor, readManifest, signal }) : await readManifest()
      if (bytes !== 'blob') this.#learn(digest, bytes)
      return bytes
    } catch (error) {
      this.#failedAt ??= digest
      throw error
    }
  }

  /** Checks the bytes of a manifest, and notes its children. */
  #learn(digest: Digest, bytes: Uint8Array): void {
    checkDigest(bytes, digest)
    const parsed = readManifest(bytes)
    if (!parsed) {
      this.#failedAt ??= digest
      const reason = `a manifest of an unknown kind (${mediaTypeOf(bytes)}), whose parts are not known`
      throw new OciError('MANIFEST_INVALID', { detail: { reason, digest } })
    }
    if (parsed.manifests.length > 0) this.#children.set(digest, parsed.manifests)
  }

  async #visit(node: ManifestNode | BlobNode, signal: AbortSignal): Promise<void> {
    try {
      if (node.kind === 'blob') await this.#blob(node, signal)
      else await this.#manifest(node, signal)
    } catch (error) {
      if (!signal.aborted) this.#failedAt ??= node.descriptor.digest
      throw error
    }
  }

  async #blob({ descriptor: { digest, size }, nonDistributable }: BlobNode, signal: AbortSignal): Promise<void> {
    const { report } = this.#options
    this.#counts.blobs++
    this.#progress.knownBytes += nonDistributable ? 0 : size
    const before = this.#progress.bytes
    const result = nonDistributable ? 'skipped' : await this.#place(digest, size, signal)
    if (result === 'copied') {
      this.#counts.copiedBlobs++
      this.#counts.copiedBytes += size
    } else if (result !== 'skipped') this.#progress.bytes += size
    report({ type: 'blob', digest, size, result })
    if (before !== this.#progress.bytes) report({ type: 'progress', ...this.#progress })
  }

  async #place(digest: Digest, size: number, signal: AbortSignal): Promise<'copied' | 'mounted' | 'present'> {
    const { registry, name } = this.#to
    const { mountFrom, chunkBytes, report } = this.#options
    const there = await found(registry.statBlob(name, digest, signal), isAbsentAtTarget)
    if (there?.value.size === size) return 'present'
    const { source, name: sourceName } = this.#from
    // A descriptor may have a wrong size: what the source has tells whether the target lacks some of it.
    if (there && there.value.size === (await source.statBlob(sourceName, digest, signal)).value.size) return 'present'
    const onBytes = (bytes: number) => {
      this.#progress.bytes += bytes
      report({ type: 'progress', ...this.#progress })
    }
    return transferBlob({ source, sourceName, sink: registry.sink, name, digest, size, mountFrom, chunkBytes, onBytes, signal })
  }

  async #manifest(node: ManifestNode, signal: AbortSignal): Promise<void> {
    const { digest } = node.descriptor
    const manifest = filterIndex(node, this.#platforms, this.#rewritten) ?? node
    if (node.parsed && node.parsed.manifests.length > 0 && readManifest(manifest.bytes)?.manifests.length === 0)
      throw new OciError('MANIFEST_UNKNOWN', { detail: { reason: `the index has nothing for ${this.#platforms.join(', ')}` } })
    if (manifest !== node) this.#rewritten.set(digest, manifest.descriptor)
    this.#counts.manifests++
    // The root is put with its tags at the end, unless referrers may need it.
    if (node.role !== 'root' || this.#options.referrers === 'copy') await this.#put(manifest, [], digest, signal)
  }

  async #put({ descriptor, bytes }: Manifest, tags: readonly Tag[], sourceDigest: Digest, signal: AbortSignal): Promise<void> {
    const { registry, name } = this.#to
    const { digest, mediaType } = descriptor
    const there = tags.length > 0 ? undefined : await found(registry.statManifest(name, { digest }, signal), isAbsentAtTarget)
    if (!there) await registry.sink.putManifest(name, { digest }, { mediaType, bytes }, tags, signal)
    this.#options.report({
      type: 'manifest',
      digest,
      size: bytes.length,
      mediaType,
      result: there ? 'present' : 'copied',
      ...(digest === sourceDigest ? {} : { rewrittenFrom: sourceDigest })
    })
  }

  async #finish(root: Manifest): Promise<void> {
    const { signal, report, referrers } = this.#options
    const { registry, name, tags = this.#from.reference.tag === undefined ? [] : [this.#from.reference.tag] } = this.#to
    const sourceDigest = root.descriptor.digest
    const node: ManifestNode = { kind: 'manifest', role: 'root', depth: 0, ...root, parsed: readManifest(root.bytes) }
    const manifest = filterIndex(node, this.#platforms, this.#rewritten) ?? root
    const { digest } = manifest.descriptor
    const wrong: Tag[] = []
    for (const tag of tags)
      if ((await found(registry.statManifest(name, { tag }, signal), isAbsentAtTarget))?.value.digest !== digest) wrong.push(tag)
    if (referrers !== 'copy' || wrong.length > 0) await this.#put(manifest, wrong, sourceDigest, signal)
    report({ type: 'done', digest, tags, ...this.#counts })
  }

  async #referrers(subject: Digest, signal: AbortSignal): Promise<Descriptor[]> {
    // Of an index that is another one at the target there are none.
    if (this.#isRewritten(subject)) return []
    const all: Descriptor[] = []
    const { source, name } = this.#from
    for (let last: string | undefined; ; ) {
      const { value } = await source.listReferrers(name, subject, last === undefined ? {} : { last }, signal)
      all.push(...value.items)
      if (value.next === undefined || value.next === last) return all
      last = value.next
    }
  }

  #isRewritten(digest: Digest, seen = new Set<Digest>()): boolean {
    if (seen.has(digest)) return false
    seen.add(digest)
    const children = this.#children.get(digest) ?? []
    return children.some(each => !isWantedChild(each, this.#platforms) || this.#isRewritten(each.digest, seen))
  }
}

function checkDigest(bytes: Uint8Array, digest: Digest): void {
  const actual = digestOf(bytes, algorithmOf(digest))
  if (actual !== digest) throw new OciError('DIGEST_INVALID', { detail: { reason: 'the source has other bytes', digest, actual } })
}

function checkPositive(option: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value > 0))
    throw new RangeError(`${option} is ${value}, not a positive integer`)
}
