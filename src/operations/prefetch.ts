import { createSemaphore, type Semaphore } from '../../storage/semaphore.ts'
import type { Backend } from '../backend/backend.ts'
import { readChild } from '../oci/children.ts'
import type { Digest } from '../oci/digest.ts'
import { walkGraph } from '../oci/graph.ts'
import type { Name, Reference } from '../oci/name.ts'
import { parsePodReference } from '../oci/pod-reference.ts'
import type { Manifest } from '../oci/source.ts'
import type { OperationProgress } from './events.ts'
import { type Fetcher, fetchBlob, reasonOf } from './fetch.ts'

/** The result of one reference; `here`: everything was stored before. */
export interface PrefetchResult {
  type: 'reference'
  reference: string
  result: 'fetched' | 'here' | 'failed'
  digest?: Digest
  manifests: number
  blobs: number
  /** Blobs that were not stored before. */
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

/** What a prefetch reports. */
export type PrefetchEvent = PrefetchResult | OperationProgress | PrefetchDone

/** How references are fetched. */
export interface PrefetchOptions {
  /** `os/architecture[/variant]`; empty: all. */
  platforms: readonly string[]
  /** Downloads at once. */
  atOnce: number
  signal: AbortSignal
}

/**
 * Stores everything that the references lead to, and yields one result each. Stored content is passed over, so that an
 * interrupted prefetch can be run again.
 */
export async function* prefetch(
  references: readonly string[],
  fetcher: Fetcher,
  options: PrefetchOptions
): AsyncGenerator<PrefetchEvent, void> {
  const { atOnce, signal } = options
  // An error, or a consumer that returns, ends the references that are still being fetched.
  const ended = new AbortController()
  const inner = { ...options, signal: AbortSignal.any([signal, ended.signal]) }
  const downloads = createSemaphore(atOnce)
  let [done, failed] = [0, 0]
  try {
    for await (const result of inParallel(references, atOnce, each => new Prefetch(fetcher, inner, downloads).run(each))) {
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
  readonly #downloads: Semaphore
  readonly #counts = { manifests: 0, blobs: 0, fetched: 0, bytes: 0 }
  #result: 'fetched' | 'here' = 'here'

  constructor(fetcher: Fetcher, options: PrefetchOptions, downloads: Semaphore) {
    this.#fetcher = fetcher
    this.#options = options
    this.#downloads = downloads
  }

  async run(text: string): Promise<PrefetchResult> {
    try {
      const { host, name, reference } = parsePodReference(text)
      const backend = cacheOf(this.#fetcher.backendFor(host))
      const root = await this.#manifest(backend, name, reference)
      await this.#walk(backend, name, root)
      return { type: 'reference', reference: text, result: this.#result, digest: root.descriptor.digest, ...this.#counts }
    } catch (error) {
      return { type: 'reference', reference: text, result: 'failed', ...this.#counts, reason: reasonOf(error) }
    }
  }

  #walk(backend: Backend, name: Name, root: Manifest): Promise<void> {
    const { platforms, atOnce, signal } = this.#options
    return walkGraph(root, {
      order: 'parents-first',
      concurrency: atOnce,
      platforms,
      signal,
      read: ({ descriptor }, signal) => {
        const readManifest = async () => (await this.#manifest(backend, name, { digest: descriptor.digest })).bytes
        return readChild({ source: backend, name, descriptor, readManifest, signal })
      },
      visit: async (node, signal) => {
        if (node.kind === 'manifest') this.#counts.manifests++
        else if (!node.nonDistributable) await this.#downloads(() => this.#blob(backend, name, node.descriptor, signal))
      }
    })
  }

  async #manifest(backend: Backend, name: Name, reference: Reference): Promise<Manifest> {
    const { signal } = this.#options
    signal.throwIfAborted()
    const { value, outcome } = await backend.getManifest(name, reference, { signal })
    if (outcome === 'bypass') throw new Error('the manifest could not be stored')
    if (outcome === 'miss' || outcome === 'join') this.#result = 'fetched'
    return value
  }

  async #blob(backend: Backend, name: Name, { digest, size }: { digest: Digest; size: number }, signal: AbortSignal): Promise<void> {
    const outcome = await fetchBlob(backend, { name, digest }, each => this.#fetcher.filled(each), signal)
    this.#counts.blobs++
    this.#counts.bytes += size
    if (outcome === 'here') return
    this.#counts.fetched++
    this.#result = outcome
  }
}

function cacheOf(backend: Backend | undefined): Backend {
  if (!backend) throw new Error('this registry does not serve that host')
  if (backend.mode === 'Proxy') return backend
  throw new Error(
    backend.mode === 'Local'
      ? 'the mode is Local: content is pushed here, not fetched'
      : 'content of that host is passed through, and not stored'
  )
}

/**
 * Yields the results of a task for each item as they come, `limit` tasks at once. After an error no further task
 * starts.
 */
async function* inParallel<T, R>(items: Iterable<T>, limit: number, task: (item: T) => Promise<R>): AsyncGenerator<R, void> {
  const running = new Map<number, Promise<{ id: number; result: R }>>()
  const next = async (): Promise<R> => {
    const { id, result } = await Promise.race(running.values())
    running.delete(id)
    return result
  }
  for (const [id, item] of [...items].entries()) {
    running.set(
      id,
      task(item).then(result => ({ id, result }))
    )
    if (running.size >= limit) yield await next()
  }
  while (running.size > 0) yield await next()
}
