import { setTimeout as sleep } from 'node:timers/promises'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { RangeRequest } from '../oci/range.ts'
import type { Page, PageRequest } from '../oci/source.ts'
import { BlobStream } from './blob.ts'
import { blobRequest, statBlob } from './blob-stat.ts'
import { Connections } from './connection/connections.ts'
import { EndpointClient } from './endpoint-client.ts'
import { Endpoints } from './endpoints.ts'
import { UpstreamError } from './error.ts'
import { FailoverClient } from './failover.ts'
import { InFlight } from './in-flight.ts'
import { listNames, listTags } from './lists.ts'
import { getManifest, statManifest, type UpstreamManifest } from './manifests.ts'
import { listReferrers } from './referrers.ts'
import type { EndpointHealth, UpstreamEvent, UpstreamHooks, UpstreamOptions } from './settings.ts'

export { UpstreamError } from './error.ts'
export type { UpstreamManifest } from './manifests.ts'
export type { EndpointHealth, UpstreamEvent, UpstreamHooks, UpstreamOptions as UpstreamSettings } from './settings.ts'

/** A blob that arrives. */
export interface UpstreamBody {
  /** Of the whole blob, if upstream said. */
  readonly size?: number
  /** Where `chunks` begins. */
  readonly offset: number
  /** In order, once; broken connections are resumed inside. Ends after the last byte asked for or throws UpstreamError (or the signal's reason). */
  readonly chunks: AsyncIterable<Buffer>
  /** Gives it up; whoever does not read `chunks` to their end calls it. */
  cancel(): void
}

/**
 * Another registry over HTTP. Names and references are the upstream's own. What fails is an UpstreamError, or the signal's reason if that was aborted. Blobs are not
 * verified here: whoever reads them knows the digest. Manifests are.
 */
export class Upstream {
  readonly #settings: UpstreamOptions
  readonly #connections: Connections
  readonly #endpoints: Endpoints
  readonly #attempts: FailoverClient
  readonly #observe: (event: UpstreamEvent) => void
  readonly #ingress: UpstreamHooks['ingress']
  readonly #running = new InFlight()

  constructor(settings: UpstreamOptions, hooks: UpstreamHooks = {}) {
    const { now = Date.now, random = Math.random, observe = () => {} } = hooks
    this.#settings = settings
    this.#observe = observe
    this.#ingress = hooks.ingress
    this.#connections = new Connections(settings, hooks.lookup)
    this.#endpoints = new Endpoints(settings.endpoints, { now, observe })
    const requests = new EndpointClient(settings, { connections: this.#connections, now, observe })
    const pause = hooks.sleep ?? ((ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }))
    this.#attempts = new FailoverClient(this.#endpoints, requests, { random, sleep: pause })
  }

  /** Whether the blob is there: a HEAD, or where upstream refuses that or names no length, a GET whose body is not read. */
  statBlob(name: string, digest: Digest, signal: AbortSignal): Promise<{ size?: number }> {
    return this.#run(() => statBlob(this.#attempts, name, digest, signal))
  }

  /** Opens the blob or a range of it by one GET; a range outside of it is `unsatisfiable`. */
  async openBlob(name: string, digest: Digest, { range, signal }: { range?: RangeRequest; signal: AbortSignal }): Promise<UpstreamBody> {
    this.#checkOpen()
    const onEnd = this.#running.begin()
    try {
      const given = { attempts: this.#attempts, observe: this.#observe, signal, onEnd, share: this.#ingress?.share() }
      const blob = await BlobStream.open(blobRequest('GET', name, digest), range, given)
      const { size, offset } = blob
      return { ...(size === undefined ? {} : { size }), offset, chunks: blob.chunks(), cancel: () => blob.cancel() }
    } catch (error) {
      onEnd()
      throw error
    }
  }

  /** The descriptor of a manifest; its digest is the upstream's word where `reference` is a tag and a HEAD told enough. */
  statManifest(name: string, reference: string, signal: AbortSignal): Promise<Descriptor> {
    return this.#run(() => statManifest(this.#attempts, name, reference, signal))
  }

  /** The manifest's bytes, verified; at most `limit` of them (4 MiB if left out, 32 MiB at most). */
  getManifest(
    name: string,
    reference: string,
    want: { ifNoneMatch?: string; limit?: number; signal: AbortSignal }
  ): Promise<UpstreamManifest | 'not-modified'> {
    return this.#run(() => getManifest(this.#attempts, name, reference, want))
  }

  /** Tags after `page.last`; all of them if no number is asked for. */
  listTags(name: string, page: PageRequest, signal: AbortSignal): Promise<Page<string>> {
    return this.#run(() => listTags(this.#attempts, name, page, signal))
  }

  /** Names of repositories, paged like tags. */
  listNames(page: PageRequest, signal: AbortSignal): Promise<Page<string>> {
    return this.#run(() => listNames(this.#attempts, page, signal))
  }

  /** Referrers by the API or, where there is none, by the tag schema; an unknown subject has none. */
  listReferrers(
    name: string,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Page<Descriptor>> {
    return this.#run(() => listReferrers(this.#attempts, name, subject, { ...want, signal }))
  }

  /** How each endpoint does, in the order of the settings. */
  health(): EndpointHealth[] {
    return this.#endpoints.health()
  }

  /** Refuses what is new and waits for what runs, bodies included. */
  async close(): Promise<void> {
    await this.#running.close()
    await this.#connections.destroy()
  }

  async #run<T>(work: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    const end = this.#running.begin()
    try {
      return await work()
    } finally {
      end()
    }
  }

  #checkOpen(): void {
    if (!this.#running.closed) return
    const endpoint = this.#settings.endpoints[0]?.host ?? ''
    throw new UpstreamError('unreachable', `${endpoint}: the settings have changed, and this upstream is no longer asked`, { endpoint })
  }
}
