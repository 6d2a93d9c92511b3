import { setTimeout as sleep } from 'node:timers/promises'
import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference } from '../oci/name.ts'
import type { RangeRequest } from '../oci/range.ts'
import type { BlobRequest, OpenBlob, Page, PageRequest, Served, Source } from '../oci/source.ts'
import { type BlobDownload, BlobStream } from './blob.ts'
import { blobRequest, checkBlob } from './blob-stat.ts'
import { Connections } from './connection/connections.ts'
import { EndpointClient } from './endpoint-client.ts'
import { UpstreamError } from './error.ts'
import { FailoverClient } from './failover.ts'
import { Endpoints } from './health/endpoints.ts'
import { Probes } from './health/probes.ts'
import { InFlight } from './in-flight.ts'
import { listNames, listTags } from './lists/names.ts'
import { listReferrers } from './lists/referrers.ts'
import { fetchManifest, manifestLimits, revalidateManifest, statManifest, type UpstreamManifest } from './manifests.ts'
import type { EndpointHealth, UpstreamEvent, UpstreamHooks, UpstreamOptions } from './options.ts'
import { UpstreamSink } from './push.ts'
import { openDownload } from './stream-body.ts'

export type { BlobDownload } from './blob.ts'
export { UpstreamError } from './error.ts'
export type { UpstreamManifest } from './manifests.ts'
export type { EndpointHealth, EndpointState, ReplicaPolicy, UpstreamEvent, UpstreamHooks, UpstreamOptions } from './options.ts'

/**
 * Another registry over HTTP, as a source and with a sink. Names and references are the upstream's own; a name may be
 * longer than one here. Errors are UpstreamErrors (`not-found` for unknown content) or the signal's reason. Nothing is
 * stored: each outcome is `bypass`.
 */
export class Upstream implements Source {
  readonly #options: UpstreamOptions
  readonly #connections: Connections
  readonly #endpoints: Endpoints
  readonly #client: FailoverClient
  readonly #observe: (event: UpstreamEvent) => void
  readonly #ingress: UpstreamHooks['ingress']
  readonly #hooks: UpstreamHooks
  readonly #inFlight: InFlight
  readonly #probes: Probes
  /** Pushes to this registry. */
  readonly sink: UpstreamSink

  /** `shared`: an upstream with the same endpoints, whose connections and health it uses. */
  constructor(options: UpstreamOptions, hooks: UpstreamHooks = {}, shared?: Upstream) {
    const { now = Date.now, random = Math.random, observe = () => {}, replicas } = hooks
    const { headerTimeout } = options.limits
    this.#options = options
    this.#hooks = hooks
    this.#observe = observe
    this.#ingress = hooks.ingress
    this.#inFlight = shared ? shared.#inFlight : new InFlight()
    this.#connections = shared ? shared.#connections : new Connections(options, hooks.lookup)
    this.#endpoints = shared ? shared.#endpoints : new Endpoints(options.endpoints, { now, observe, replicas })
    const deps = { connections: this.#connections, endpoints: this.#endpoints, observe, timeoutMs: replicas?.probeMs ?? headerTimeout }
    this.#probes = shared ? shared.#probes : new Probes(deps)
    const client = new EndpointClient(options, { connections: this.#connections, now, observe })
    const pause = hooks.sleep ?? ((ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }))
    const probe = (endpoint: URL) => this.#probes.probe(endpoint)
    this.#client = new FailoverClient(this.#endpoints, client, { random, sleep: pause, now, observe, replicas, probe })
    this.sink = new UpstreamSink({
      client: this.#client,
      run: task => this.#run(task),
      hasBlob: (name, digest, signal) => this.#hasBlob(name, digest, signal)
    })
  }

  /**
   * Checks that a blob exists: a HEAD, or if that is refused or has no length, a GET whose body is not read. `size` in
   * bytes, if it was told.
   */
  checkBlob(name: string, digest: Digest, signal: AbortSignal): Promise<{ size?: number }> {
    return this.#run(() => checkBlob(this.#client, name, digest, signal))
  }

  async #hasBlob(name: string, digest: Digest, signal: AbortSignal): Promise<boolean> {
    try {
      await this.checkBlob(name, digest, signal)
      return true
    } catch (error) {
      if (error instanceof UpstreamError && error.kind === 'not-found') return false
      throw error
    }
  }

  /** As `checkBlob`; no size is an error of the kind `invalid`. */
  async statBlob(name: string, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    const { size } = await this.checkBlob(name, digest, signal)
    if (size !== undefined) return bypass({ mediaType: mediaTypes.blob, digest, size })
    throw new UpstreamError('invalid', 'upstream does not tell the size of the blob', { endpoint: this.#firstHost })
  }

  /**
   * Downloads a blob or a range of it by one GET; a range past its end is `unsatisfiable`. The bytes are not verified.
   */
  async streamBlob(name: string, digest: Digest, { range, signal }: { range?: RangeRequest; signal: AbortSignal }): Promise<BlobDownload> {
    this.#checkOpen()
    const onEnd = this.#inFlight.begin()
    try {
      const deps = { client: this.#client, observe: this.#observe, signal, onEnd, share: this.#ingress?.share() }
      return (await BlobStream.open(blobRequest('GET', name, digest), range, deps)).download()
    } catch (error) {
      onEnd()
      throw error
    }
  }

  /** The body can only be read forward. It is verified if all of the blob is read. */
  async openBlob(name: string, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob>> {
    const download = (range?: RangeRequest) => this.streamBlob(name, digest, { signal: want.signal, ...(range ? { range } : {}) })
    return bypass(await openDownload(download, digest, want.range))
  }

  /** For a tag, the digest is the upstream's claim: bytes are read only if a HEAD tells too little. */
  async statManifest(name: string, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>> {
    return bypass(await this.#run(() => statManifest(this.#client, name, reference, signal)))
  }

  /** Verified, and as large as `manifestBytes` at most. */
  async getManifest(name: string, reference: Reference, { signal }: { signal: AbortSignal }): Promise<Served<UpstreamManifest>> {
    const { manifestBytes: limit = manifestLimits.default } = this.#options
    const manifest = await this.fetchManifest(name, reference, { limit, signal })
    // An unconditional request that is answered 304 has thrown already.
    if (manifest === 'not-modified') throw new Error('an unconditional request was answered 304')
    return bypass(manifest)
  }

  /**
   * As `getManifest`, and with a limit in bytes (default 4 MiB, 8 MiB at most); conditionally with the ETag and the
   * digest that are known.
   */
  fetchManifest(
    name: string,
    reference: Reference,
    { known, ...want }: { ifNoneMatch?: string; known?: Digest; limit?: number; signal: AbortSignal }
  ): Promise<UpstreamManifest | 'not-modified'> {
    const byHead = known !== undefined && this.#options.revalidate === 'head'
    return this.#run(() =>
      byHead ? revalidateManifest(this.#client, name, reference, { ...want, known }) : fetchManifest(this.#client, name, reference, want)
    )
  }

  /** Tags after `page.last`; all of them without `page.n`. */
  async listTags(name: string, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    return bypass(await this.#run(() => listTags(this.#client, name, page, signal)))
  }

  /** Names of repositories, paged like tags. */
  async listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    return bypass(await this.#run(() => listNames(this.#client, page, signal)))
  }

  /** By the referrers API, else by the referrers tag. Empty for an unknown subject. */
  async listReferrers(
    name: string,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>> {
    return bypass(await this.#run(() => listReferrers(this.#client, name, subject, { ...want, signal })))
  }

  /** Of each endpoint, in order of preference. */
  health(): EndpointHealth[] {
    return this.#endpoints.health()
  }

  /** Asks each endpoint that is unhealthy whether it answers again, and each that was not heard for `quietMs`. */
  probe(quietMs: number): Promise<void> {
    return this.#probes.run(quietMs)
  }

  /** The same registry, asked to stand for another one (`ns=`). It has no life of its own: this one is closed. */
  forNamespace(namespace: string): Upstream {
    return new Upstream({ ...this.#options, namespace }, this.#hooks, this)
  }

  /** Refuses new requests, and waits for those in flight with their bodies. */
  async close(): Promise<void> {
    await this.#inFlight.close()
    await this.#connections.destroy()
  }

  get #firstHost(): string {
    return this.#options.endpoints[0]?.host ?? ''
  }

  async #run<T>(task: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    const end = this.#inFlight.begin()
    try {
      return await task()
    } finally {
      end()
    }
  }

  #checkOpen(): void {
    if (!this.#inFlight.closed) return
    const endpoint = this.#firstHost
    throw new UpstreamError('unreachable', `${endpoint}: the settings have changed, and this upstream is closed`, { endpoint })
  }
}

function bypass<T>(value: T): Served<T> {
  return { value, outcome: 'bypass' }
}
