import type { Backend } from '../backend/backend.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { isDenied, isNotFound, OciError } from '../oci/errors.ts'
import type { Name, Reference } from '../oci/name.ts'
import type { Sink } from '../oci/sink.ts'
import type { BlobRequest, Manifest, OpenBlob, Page, PageRequest, Served, Source } from '../oci/source.ts'

/** Registries that have the same content, as one source. */
export interface PoolSource {
  readonly source: Source
  /** Whether one of them is healthy. */
  isHealthy(): boolean
}

/**
 * Asks several pools in order: the next one where a pool does not have the content or cannot be asked. Content is
 * unknown only if every pool said so; if one could not be asked, the answer is UNAVAILABLE (503). Pushes go to `sink`.
 */
export class PoolsBackend implements Backend {
  readonly mode = 'Direct'
  readonly sink?: Sink
  readonly #pools: readonly PoolSource[]

  constructor(pools: readonly PoolSource[], sink: Sink | undefined) {
    this.#pools = pools
    if (sink) this.sink = sink
  }

  statBlob(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    return this.#first(pool => pool.statBlob(name, digest, signal))
  }

  openBlob(name: Name, digest: Digest, { redirect: _redirect, ...want }: BlobRequest): Promise<Served<OpenBlob>> {
    return this.#first(pool => pool.openBlob(name, digest, want))
  }

  statManifest(name: Name, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>> {
    return this.#first(pool => pool.statManifest(name, reference, signal))
  }

  getManifest(name: Name, reference: Reference, want: { signal: AbortSignal }): Promise<Served<Manifest>> {
    return this.#first(pool => pool.getManifest(name, reference, want))
  }

  listTags(name: Name, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    return this.#first(pool => pool.listTags(name, page, signal))
  }

  /** Of the first pool that has any: a registry answers an empty list for an unknown subject. */
  listReferrers(
    name: Name,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>> {
    return this.#first(
      pool => pool.listReferrers(name, subject, want, signal),
      ({ value }) => value.items.length > 0
    )
  }

  listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    return this.#first(pool => pool.listNames(page, signal))
  }

  // The first answer that counts, else the first one that does not, else the error that leaves the most open.
  async #first<T>(ask: (pool: Source) => Promise<T>, counts: (answer: T) => boolean = () => true): Promise<T> {
    const errors: OciError[] = []
    let empty: { answer: T } | undefined
    for (const { source } of this.#inOrder()) {
      try {
        const answer = await ask(source)
        if (counts(answer)) return answer
        empty ??= { answer }
      } catch (error) {
        // A range outside of the blob is outside of it everywhere.
        if (!(error instanceof OciError) || error.status === 416) throw error
        errors.push(error)
      }
    }
    const unasked = errors.find(error => !isNotFound(error) && !isDenied(error))
    if (unasked) throw unavailable(unasked)
    if (empty) return empty.answer
    throw errors.find(isDenied) ?? errors[0] ?? new Error('a route has no pool')
  }

  // What does not answer at all would cost each request some time.
  #inOrder(): PoolSource[] {
    const healthy = this.#pools.filter(pool => pool.isHealthy())
    return healthy.length === this.#pools.length ? healthy : [...healthy, ...this.#pools.filter(pool => !healthy.includes(pool))]
  }
}

/**
 * The 503 for content that no pool has of those that could be asked. Not 429 or 502, which containerd repeats at once
 * or takes for a fault of its own.
 */
export function unavailable({ detail, headers, cause }: OciError): OciError {
  return new OciError('UNAVAILABLE', { detail, headers: { 'retry-after': '1', ...headers }, cause })
}
