import { createSemaphore } from '../../storage/semaphore.ts'
import type { Backend } from '../backend/backend.ts'
import { isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Name, Reference } from '../oci/name.ts'
import { matchesPlatform } from '../oci/platform.ts'
import { parsePodReference } from '../oci/pod-reference.ts'
import type { Progressed } from './events.ts'
import { type Fetcher, fetchBlob, reasonOf } from './fetch.ts'
import { inParallel } from './parallel.ts'

/** What became of a reference; `here`: nothing of it had to be fetched. */
export interface Prefetched {
  type: 'reference'
  reference: string
  result: 'fetched' | 'here' | 'failed'
  digest?: Digest
  manifests: number
  blobs: number
  /** Of the blobs, those that were not stored before. */
  fetched: number
  /** Of all its blobs, stored before or not. */
  bytes: number
  reason?: string
}

/** The end of a prefetch. */
export interface PrefetchDone {
  type: 'done'
  references: number
  failed: number
}

/** How a prefetch goes about it. */
export interface PrefetchOptions {
  /** `os/architecture[/variant]`; empty: all. */
  platforms: readonly string[]
  /** Downloads at once. */
  atOnce: number
  signal: AbortSignal
}

/** Stores everything that the references lead to, one result each. What is stored is passed over, so it can be broken off and begun again. */
export async function* prefetch(
  references: readonly string[],
  fetcher: Fetcher,
  options: PrefetchOptions
): AsyncGenerator<Prefetched | Progressed | PrefetchDone, void> {
  const { atOnce, signal } = options
  // A task that fails must not leave others running behind the back of whoever asked.
  const ended = new AbortController()
  const all = { ...options, signal: AbortSignal.any([signal, ended.signal]) }
  const limit = createSemaphore(atOnce)
  let [done, failed] = [0, 0]
  try {
    for await (const result of inParallel(references, atOnce, each => new Prefetch(fetcher, all, limit).run(each))) {
      signal.throwIfAborted()
      if (result.result === 'failed') failed++
      yield result
      yield { type: 'progress', done: ++done, total: references.length, unit: 'items' }
    }
  } finally {
    ended.abort()
  }
  yield { type: 'done', references: references.length, failed }
}

class Prefetch {
  readonly #fetcher: Fetcher
  readonly #options: PrefetchOptions
  readonly #limit: <T>(task: () => Promise<T>) => Promise<T>
  readonly #seen = new Set<Digest>()
  readonly #counts = { manifests: 0, blobs: 0, fetched: 0, bytes: 0 }

  constructor(fetcher: Fetcher, options: PrefetchOptions, limit: <T>(task: () => Promise<T>) => Promise<T>) {
    this.#fetcher = fetcher
    this.#options = options
    this.#limit = limit
  }

  async run(text: string): Promise<Prefetched> {
    let [digest, manifests]: [Digest | undefined, 'here' | 'fetched'] = [undefined, 'here']
    try {
      const { host, name, reference } = parsePodReference(text)
      const backend = cacheOf(this.#fetcher.backendFor(host))
      const root = await this.#manifest(backend, name, reference)
      digest = root.digest
      manifests = root.outcome
    } catch (error) {
      return { type: 'reference', reference: text, result: 'failed', ...this.#counts, reason: reasonOf(error) }
    }
    const result = manifests === 'here' && this.#counts.fetched === 0 ? 'here' : 'fetched'
    return { type: 'reference', reference: text, result, digest, ...this.#counts }
  }

  async #manifest(backend: Backend, name: Name, reference: Reference): Promise<{ digest: Digest; outcome: 'here' | 'fetched' }> {
    const { signal } = this.#options
    signal.throwIfAborted()
    const { value, outcome } = await backend.getManifest(name, reference, { signal })
    if (outcome === 'bypass') throw new Error('the manifest could not be stored')
    const { digest } = value.descriptor
    const stored = outcome === 'miss' || outcome === 'join' ? 'fetched' : 'here'
    if (this.#seen.has(digest)) return { digest, outcome: stored }
    this.#seen.add(digest)
    this.#counts.manifests++
    const below = await this.#below(backend, name, value.bytes)
    return { digest, outcome: below === 'fetched' ? below : stored }
  }

  async #below(backend: Backend, name: Name, bytes: Uint8Array): Promise<'here' | 'fetched'> {
    const { manifests = [], blobs = [] } = readManifest(bytes) ?? {}
    let outcome: 'here' | 'fetched' = 'here'
    for (const { digest } of manifests.filter(each => matchesPlatform(each.platform, this.#options.platforms))) {
      if ((await this.#manifest(backend, name, { digest })).outcome === 'fetched') outcome = 'fetched'
    }
    const wanted = blobs.filter(each => !isNonDistributable(each.mediaType) && !this.#seen.has(each.digest))
    for (const { digest } of wanted) this.#seen.add(digest)
    await Promise.all(wanted.map(({ digest, size }) => this.#limit(() => this.#blob(backend, name, digest, size))))
    return outcome
  }

  async #blob(backend: Backend, name: Name, digest: Digest, size: number): Promise<void> {
    const outcome = await fetchBlob(backend, { name, digest }, each => this.#fetcher.filled(each), this.#options.signal)
    this.#counts.blobs++
    this.#counts.bytes += size
    if (outcome === 'fetched') this.#counts.fetched++
  }
}

function cacheOf(backend: Backend | undefined): Backend {
  if (!backend) throw new Error('this registry does not serve that host')
  if (backend.mode === 'Proxy') return backend
  throw new Error(
    backend.mode === 'Local'
      ? 'what is asked for here is pushed and not fetched: the mode is Local'
      : 'nothing is kept of what comes from there'
  )
}
