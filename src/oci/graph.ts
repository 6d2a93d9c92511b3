import { isWantedChild } from './children.ts'
import { type Descriptor, isNonDistributable } from './descriptor.ts'
import type { Digest } from './digest.ts'
import { OciError } from './errors.ts'
import { type ParsedManifest, readManifest } from './manifest.ts'

/** What a manifest is to the one that led to it; `root` is where a walk begins. */
export type Role = 'root' | 'child' | 'config' | 'layer' | 'subject' | 'referrer'

interface Reached {
  descriptor: Descriptor
  role: Role
  /** The manifest that led here first; absent for the root. */
  parent?: Digest
  /** `os/architecture[/variant]`, where the index says it. */
  platform?: string
}

/** A blob that a manifest needs, or that an index lists as if it were a manifest. */
export interface BlobNode extends Reached {
  kind: 'blob'
  role: 'config' | 'layer' | 'child'
  /** Its descriptor has URLs of its own: a registry need not hold it. */
  nonDistributable: boolean
}

/** A manifest that has been found, and not been read yet. */
export interface ManifestLink extends Reached {
  kind: 'manifest'
  /** Edges from the root: 0 for the root itself. */
  depth: number
}

/** A manifest that has been read. */
export interface ManifestNode extends ManifestLink {
  bytes: Uint8Array
  /** Undefined for a kind that this registry does not know: nothing is known to be below it. */
  parsed: ParsedManifest | undefined
}

/** One edge out of a manifest. */
export type ManifestPart =
  | Pick<BlobNode, 'kind' | 'role' | 'descriptor' | 'nonDistributable'>
  | Pick<ManifestLink, 'kind' | 'role' | 'descriptor' | 'platform'>

/**
 * What a manifest refers to, in a fixed order: children as the index lists them, config, layers from the base up,
 * subject.
 */
export function partsOf({ manifests, blobs, subject }: ParsedManifest): ManifestPart[] {
  const blob = (descriptor: Descriptor, at: number): ManifestPart => ({
    kind: 'blob',
    role: at === 0 ? 'config' : 'layer',
    descriptor,
    nonDistributable: isNonDistributable(descriptor.mediaType)
  })
  return [
    ...manifests.map(({ platform, ...descriptor }): ManifestPart => {
      return { kind: 'manifest', role: 'child', descriptor, ...(platform === undefined ? {} : { platform }) }
    }),
    ...blobs.map(blob),
    ...(subject ? [{ kind: 'manifest', role: 'subject', descriptor: subject } as const] : [])
  ]
}

/** How a graph is walked. */
export interface WalkOptions {
  /**
   * The verified bytes of a manifest; undefined to pass over it and what is below it. `blob` if the child of an index
   * is one: it is visited as such.
   */
  read(link: ManifestLink, signal: AbortSignal): Promise<Uint8Array | 'blob' | undefined>
  /** Called once for each digest. `signal` is aborted when the walk fails elsewhere. */
  visit(node: ManifestNode | BlobNode, signal: AbortSignal): Promise<void> | void
  /**
   * `parents-first`: a manifest's visit ends before anything below it is visited. `children-first`: it begins after
   * those of all its parts, as a registry demands of a push.
   */
  order: 'parents-first' | 'children-first'
  /**
   * Visits at once, at least 1; 1 if left out, which makes the order of all visits a fixed one. Manifests are read one
   * after the other.
   */
  concurrency?: number
  /**
   * `os/architecture[/variant]`: children of an index for other platforms, and manifests for none, are left out. Empty:
   * all are walked.
   */
  platforms?: readonly string[]
  /** Whether a manifest's subject is walked too. */
  subjects?: 'follow' | 'ignore'
  /**
   * The manifests that have `subject` as their subject. They are walked after all else, and each is visited after its
   * subject.
   */
  referrers?(subject: Digest, signal: AbortSignal): Promise<readonly Descriptor[]>
  /** Levels below the root; a deeper graph is MANIFEST_INVALID. */
  maxDepth?: number
  signal: AbortSignal
}

// Images have 2 levels. Clients give up long before this.
const defaultMaxDepth = 100
// Manifests that may wait for their parts, or the concurrency if that is more: enough to keep all permits in use while
// many images wait for one large layer that they share.
const defaultMaxWaiting = 32

/**
 * Walks all that `root` leads to: each digest once, cycles are harmless. Pass the root's bytes if they are at hand.
 * Rejects with the first error of `read`, `visit` or `referrers`, or with the signal's reason, when no visit is running
 * any more.
 */
export async function walkGraph(root: { descriptor: Descriptor; bytes?: Uint8Array }, options: WalkOptions): Promise<void> {
  return new GraphWalk(options).run(root)
}

/**
 * Discovery is one depth-first pass, and visits run beside it. So a manifest waits only for what was discovered
 * completely before it, and two visits never wait for each other, whatever the graph looks like. Discovery waits for a
 * permit before each read and each blob, and before a read until few enough manifests wait for their parts: so it does
 * not run ahead and fill the memory with manifests, whatever the size of an index. That wait ends, since those parts
 * have been discovered already.
 */
class GraphWalk {
  readonly #options: WalkOptions
  readonly #concurrency: number
  readonly #failure = new AbortController()
  readonly #signal: AbortSignal
  /** Ends of visits. None rejects: the first error is kept in `#failure`. */
  readonly #manifests = new Map<Digest, Promise<void>>()
  readonly #blobs = new Map<Digest, Promise<void>>()
  readonly #running = new Set<Promise<void>>()
  /** Manifests that are held in memory until their parts were visited. */
  readonly #waiting = new Set<Promise<void>>()
  /** Manifests between the root and the one being discovered: an edge to one of them closes a cycle. */
  readonly #path = new Set<Digest>()
  /** Manifests whose referrers are still to be asked for. */
  readonly #subjects: { digest: Digest; depth: number }[] = []

  constructor(options: WalkOptions) {
    this.#options = options
    this.#concurrency = options.concurrency ?? 1
    if (!(this.#concurrency >= 1)) throw new RangeError(`concurrency is ${this.#concurrency}, not at least 1`)
    this.#signal = AbortSignal.any([options.signal, this.#failure.signal])
  }

  async run({ descriptor, bytes }: { descriptor: Descriptor; bytes?: Uint8Array }): Promise<void> {
    try {
      await this.#manifest({ kind: 'manifest', role: 'root', descriptor, depth: 0 }, { bytes })
      await this.#referrers()
    } catch (error) {
      this.#failure.abort(error)
    }
    await Promise.all(this.#manifests.values())
    while (this.#running.size > 0) await Promise.all(this.#running)
    this.#signal.throwIfAborted()
  }

  async #manifest(
    link: ManifestLink,
    { bytes, after }: { bytes?: Uint8Array | undefined; after?: Promise<void> | undefined }
  ): Promise<void> {
    const { digest } = link.descriptor
    if (this.#manifests.has(digest)) return
    this.#signal.throwIfAborted()
    const { maxDepth = defaultMaxDepth } = this.#options
    if (link.depth > maxDepth)
      throw new OciError('MANIFEST_INVALID', { detail: { reason: `manifests are nested more than ${maxDepth} deep`, digest } })
    const ended = Promise.withResolvers<void>()
    this.#manifests.set(digest, ended.promise)
    this.#path.add(digest)
    try {
      while (!bytes && this.#waiting.size >= Math.max(defaultMaxWaiting, this.#concurrency)) await Promise.race(this.#waiting)
      while (!bytes && this.#isFull) await Promise.race(this.#running)
      const read = bytes ?? (await this.#options.read(link, this.#signal))
      if (read === 'blob') {
        await this.#blob(childBlob(link))
        ended.resolve(this.#blobs.get(digest))
      } else if (read) await this.#below({ ...link, bytes: read, parsed: readManifest(read) }, { ended, after })
      else ended.resolve()
    } catch (error) {
      ended.resolve()
      throw error
    } finally {
      this.#path.delete(digest)
    }
  }

  async #below(
    node: ManifestNode,
    { ended, after }: { ended: PromiseWithResolvers<void>; after: Promise<void> | undefined }
  ): Promise<void> {
    const first = this.#options.order === 'parents-first'
    if (first) await this.#permitted(node)
    const parts: (Promise<void> | undefined)[] = [after]
    for (const part of node.parsed ? partsOf(node.parsed) : []) {
      this.#signal.throwIfAborted()
      const { digest } = part.descriptor
      if (part.kind === 'blob') {
        await this.#blob({ ...part, parent: node.descriptor.digest })
        parts.push(this.#blobs.get(digest))
      } else if (this.#isWanted(part) && !this.#path.has(digest)) {
        await this.#manifest({ ...part, parent: node.descriptor.digest, depth: node.depth + 1 }, {})
        parts.push(this.#manifests.get(digest))
      }
    }
    const visited = Promise.all(parts)
      .then(() => (first ? undefined : this.#permitted(node)))
      .finally(() => this.#waiting.delete(visited))
    this.#waiting.add(visited)
    ended.resolve(visited)
    if (this.#options.referrers) this.#subjects.push({ digest: node.descriptor.digest, depth: node.depth })
    if (this.#concurrency === 1) await visited
  }

  #isWanted({ role, descriptor, platform }: Pick<ManifestLink, 'role' | 'descriptor' | 'platform'>): boolean {
    const { platforms = [], subjects } = this.#options
    return role === 'subject' ? subjects === 'follow' : isWantedChild({ mediaType: descriptor.mediaType, platform }, platforms)
  }

  async #blob(node: BlobNode): Promise<void> {
    const { digest } = node.descriptor
    if (this.#blobs.has(digest)) return
    while (this.#isFull) await Promise.race(this.#running)
    this.#blobs.set(digest, this.#visit(node))
  }

  async #referrers(): Promise<void> {
    const { referrers } = this.#options
    for (let next = this.#subjects.shift(); next && referrers; next = this.#subjects.shift()) {
      const { digest, depth } = next
      for (const descriptor of await referrers(digest, this.#signal)) {
        const link: ManifestLink = { kind: 'manifest', role: 'referrer', descriptor, parent: digest, depth: depth + 1 }
        await this.#manifest(link, { after: this.#manifests.get(digest) })
      }
    }
  }

  async #permitted(node: ManifestNode): Promise<void> {
    while (this.#isFull) await Promise.race(this.#running)
    await this.#visit(node)
  }

  // Checked in the microtask in which the visit starts: several manifests may have waited for one blob.
  get #isFull(): boolean {
    return this.#running.size >= this.#concurrency
  }

  #visit(node: ManifestNode | BlobNode): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve()
    const visit = (async () => this.#options.visit(node, this.#signal))()
      .catch(error => this.#failure.abort(error))
      .finally(() => this.#running.delete(visit))
    this.#running.add(visit)
    return visit
  }
}

function childBlob({ depth: _depth, ...link }: ManifestLink): BlobNode {
  return { ...link, kind: 'blob', role: 'child', nonDistributable: isNonDistributable(link.descriptor.mediaType) }
}
