import { setTimeout as sleep } from 'node:timers/promises'
import { hasStatus } from './api-error.ts'
import type { KubernetesClient } from './client.ts'
import type { KubernetesObject } from './object.ts'
import { collectionPath, objectPath } from './paths.ts'

/** Dependencies of an election; the times are in ms. */
export interface ElectionOptions {
  namespace: string
  name: string
  /** Of this process, unlike that of any other. */
  identity: string
  leaseMs?: number
  renewMs?: number
  /** Monotonic. */
  now?(): number
  /** This process has become or is no longer the leader, or cannot tell. */
  changed(state: 'leads' | 'follows', error?: unknown): void
}

interface LeaseSpec {
  holderIdentity?: string
  leaseDurationSeconds?: number
  acquireTime?: string
  renewTime?: string
  leaseTransitions?: number
}

// A renewal that takes longer is begun anew; what this process may do has ended by then anyway.
const requestMs = 5_000

/**
 * Elects one of several processes by a Lease (coordination.k8s.io/v1). No clock is compared with another's: a lease has
 * ended when it was not renewed for its duration as this process saw it. The leader counts from before its request, so
 * that it stops before another may begin.
 */
export class Election {
  readonly #client: KubernetesClient
  readonly #options: Required<ElectionOptions>
  #leadsUntil = 0
  #wasLeading = false
  #seen: { version: string | undefined; at: number } = { version: undefined, at: 0 }

  constructor(client: KubernetesClient, options: ElectionOptions) {
    this.#client = client
    this.#options = { leaseMs: 12_000, renewMs: 4_000, now: () => performance.now(), ...options }
  }

  /** Whether this process leads, also after it was frozen. */
  get leads(): boolean {
    return this.#options.now() < this.#leadsUntil
  }

  /** Stands for election until the signal; then gives the lease back, so that a successor need not wait. */
  async run(signal: AbortSignal): Promise<void> {
    const { renewMs } = this.#options
    while (!signal.aborted) {
      let error: unknown
      await this.#round(AbortSignal.any([signal, AbortSignal.timeout(requestMs)])).catch(cause => {
        error = cause
      })
      this.#report(error)
      await sleep(renewMs * (0.9 + Math.random() / 5), undefined, { signal }).catch(() => {})
    }
    if (this.leads) await this.#release().catch(() => {})
    this.#leadsUntil = 0
    this.#report()
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { now, leaseMs, identity } = this.#options
    const began = now()
    const lease = await this.#find(signal)
    const spec = (lease?.spec ?? {}) as LeaseSpec
    const version = lease?.metadata.resourceVersion
    if (version !== this.#seen.version) this.#seen = { version, at: began }
    const isOwn = spec.holderIdentity === identity
    const isFree = !lease || !spec.holderIdentity || began - this.#seen.at > (spec.leaseDurationSeconds ?? leaseMs / 1000) * 1000
    if (!isOwn && !isFree) {
      this.#leadsUntil = 0
      return
    }
    try {
      const written = await this.#write(lease, this.#spec(spec, isOwn), signal)
      this.#seen = { version: written.metadata.resourceVersion, at: now() }
      this.#leadsUntil = began + leaseMs
    } catch (error) {
      // Another process was quicker.
      if (!hasStatus(error, 409)) throw error
      this.#leadsUntil = 0
    }
  }

  async #find(signal: AbortSignal): Promise<KubernetesObject | undefined> {
    try {
      return await this.#client.get(objectPath(this.#object({})), signal)
    } catch (error) {
      if (hasStatus(error, 404)) return undefined
      throw error
    }
  }

  #write(lease: KubernetesObject | undefined, spec: LeaseSpec, signal?: AbortSignal): Promise<KubernetesObject> {
    if (lease) return this.#client.update(objectPath(lease), { ...lease, spec }, signal)
    const object = this.#object(spec)
    return this.#client.create(collectionPath({ ...object, namespace: this.#options.namespace }), object, signal)
  }

  #spec({ acquireTime, leaseTransitions = 0 }: LeaseSpec, isOwn: boolean): LeaseSpec {
    const { identity, leaseMs } = this.#options
    const time = new Date().toISOString().replace('Z', '000Z')
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      acquireTime: isOwn && acquireTime ? acquireTime : time,
      renewTime: time,
      leaseTransitions: isOwn ? leaseTransitions : leaseTransitions + 1
    }
  }

  // A renewal that was broken off may still arrive in between.
  async #release(triesLeft = 3): Promise<void> {
    const signal = AbortSignal.timeout(requestMs)
    const lease = await this.#find(signal)
    const spec = (lease?.spec ?? {}) as LeaseSpec
    if (!lease || spec.holderIdentity !== this.#options.identity) return
    try {
      await this.#write(lease, { ...spec, holderIdentity: '', leaseDurationSeconds: 1 }, signal)
    } catch (error) {
      if (!hasStatus(error, 409) || triesLeft === 1) throw error
      await this.#release(triesLeft - 1)
    }
  }

  #object(spec: LeaseSpec): KubernetesObject {
    const { name, namespace } = this.#options
    return { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace }, spec }
  }

  #report(error?: unknown): void {
    const { leads } = this
    if (leads === this.#wasLeading && error === undefined) return
    this.#wasLeading = leads
    this.#options.changed(leads ? 'leads' : 'follows', error)
  }
}
