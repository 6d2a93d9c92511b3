import { createSemaphore, type Semaphore } from '../../../storage/semaphore.ts'
import { transferBlob } from '../../copy/transfer.ts'
import type { Digest } from '../../oci/digest.ts'
import { OciError } from '../../oci/errors.ts'
import { found, isAbsentAtTarget } from '../../oci/found.ts'
import type { Name } from '../../oci/name.ts'
import type { Sink } from '../../oci/sink.ts'
import type { Source } from '../../oci/source.ts'
import type { Patience } from './patience.ts'

/** A registry, or another bundle, that is asked what it has. */
export type AskedRegistry = Pick<Source, 'statBlob' | 'statManifest' | 'listTags'>

/** A registry that is pushed to. */
export interface TargetRegistry extends AskedRegistry {
  readonly sink: Sink
}

/** What placing blobs needs. */
export interface PlacementDeps {
  source: Source
  registry: TargetRegistry
  /** The repositories that need a blob. */
  needing(digest: Digest): readonly Name[]
  /** Bytes that the bundle has of a blob; undefined if it lacks it. */
  sizeOf(digest: Digest): number | undefined
  atOnce: number
  patience: Patience
  /** Bytes that have newly been read for the target. */
  onBytes(bytes: number): void
  /** Called once for each blob and repository. */
  onPlaced(digest: Digest, placed: Placed): void
  signal: AbortSignal
}

/** How a blob came to its repository. */
export type Placed = 'copied' | 'mounted' | 'present'

/**
 * Puts each blob into the repositories that need it: each is asked once whether it has it, the bytes are sent once, and
 * the others mount it. Calls for the same blob share one task, so that no blob is sent twice however many images have
 * it.
 */
export class Placement {
  readonly #deps: PlacementDeps
  readonly #requests: Semaphore
  readonly #placed = new Map<string, Promise<Placed>>()
  /** The repositories that have a blob. */
  readonly #holders = new Map<Digest, Promise<Set<Name>>>()
  /** Of each blob, its transfers one after another. */
  readonly #turns = new Map<Digest, Promise<unknown>>()

  constructor(deps: PlacementDeps) {
    this.#deps = deps
    this.#requests = createSemaphore(deps.atOnce)
  }

  /** Resolves when the repository has the blob. BLOB_UNKNOWN if neither the bundle nor the target has it. */
  place(name: Name, digest: Digest): Promise<Placed> {
    const key = `${digest} ${name}`
    const known = this.#placed.get(key)
    if (known) return known
    const before = this.#turns.get(digest) ?? Promise.resolve()
    const placed = before.then(() => this.#place(name, digest))
    this.#placed.set(key, placed)
    this.#turns.set(
      digest,
      placed.catch(() => {})
    )
    return placed
  }

  /** Whether a repository that needs the blob has it already. */
  async isThere(digest: Digest): Promise<boolean> {
    return (await this.#holdersOf(digest)).size > 0
  }

  async #place(name: Name, digest: Digest): Promise<Placed> {
    const { source, registry, sizeOf, patience, onBytes, onPlaced, signal } = this.#deps
    const holders = await this.#holdersOf(digest)
    if (holders.has(name)) {
      onPlaced(digest, 'present')
      return 'present'
    }
    const size = sizeOf(digest)
    const [mountFrom] = holders
    const placed = await this.#requests(() =>
      patience.run(async () => {
        if (size === undefined) return this.#mountMissing(name, digest, mountFrom)
        return transferBlob({ source, sourceName: name, sink: registry.sink, name, digest, size, mountFrom, onBytes, signal })
      })
    )
    holders.add(name)
    onPlaced(digest, placed)
    return placed
  }

  async #mountMissing(name: Name, digest: Digest, from: Name | undefined): Promise<Placed> {
    if (from !== undefined && (await this.#deps.registry.sink.mountBlob(name, digest, from, this.#deps.signal))) return 'mounted'
    throw new OciError('BLOB_UNKNOWN', { detail: { reason: `neither the bundle nor ${name} at the target has ${digest}`, digest } })
  }

  #holdersOf(digest: Digest): Promise<Set<Name>> {
    const known = this.#holders.get(digest)
    if (known) return known
    const holders = this.#findHolders(digest)
    this.#holders.set(digest, holders)
    return holders
  }

  async #findHolders(digest: Digest): Promise<Set<Name>> {
    const { registry, needing, sizeOf, patience, signal } = this.#deps
    const size = sizeOf(digest)
    const names = needing(digest)
    const lists = await Promise.all(
      names.map(name =>
        this.#requests(() => patience.run(() => found(registry.statBlob(name, digest, signal), isAbsentAtTarget))).then(served =>
          served !== undefined && (size === undefined || served.value.size === size) ? [name] : []
        )
      )
    )
    return new Set(lists.flat())
  }
}
