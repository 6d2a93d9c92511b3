import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import { expiryOf } from '../backend/expiry.ts'
import type { Content } from '../content/content.ts'
import { collect, type GcEvent, type Removal } from '../content/gc/collect.ts'
import { evict } from '../content/gc/evict.ts'
import { createYield } from '../content/gc/yield.ts'
import { countRemoval, logGcRun } from '../telemetry/gc.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { PinReader } from './pin-file.ts'
import { Schedule } from './schedule.ts'

/** What garbage collection needs of the process. */
export interface GcRunnerDeps {
  storage: Storage
  content: Content
  /** The configuration in force. */
  config: () => Config
  upstreams: () => ReadonlyMap<string, Upstream>
  pins: PinReader
  /** Whether requests run; garbage collection yields to them. */
  busy: () => boolean
  metrics: Metrics
  log: Logger
}

/** How a garbage collection is requested. */
export interface GcRequest {
  dryRun?: true
  signal?: AbortSignal
}

/** A garbage collection runs already. */
export class GcRunningError extends Error {
  override readonly name = 'GcRunningError'

  constructor() {
    super('a garbage collection is running already')
  }
}

/** Runs garbage collection and expiry, on schedule and on request. */
export class GcRunner {
  readonly #deps: GcRunnerDeps
  readonly #stop = new AbortController()
  readonly #schedule: Schedule
  /** Resolves when the run under way has ended. */
  #running: Promise<void> | undefined

  constructor(deps: GcRunnerDeps) {
    this.#deps = deps
    this.#schedule = new Schedule({
      storage: deps.storage,
      coordination: deps.content.coordination,
      every: () => deps.config().gc.every,
      run: () => this.#runScheduled(),
      onWake: () => {
        deps.content.holds.setGrace(deps.config().gc.grace)
        deps.content.lastAccess.setTtl(deps.config().registry.upstream?.ttl ?? Number.POSITIVE_INFINITY)
      }
    })
    const schedule = this.#schedule
    deps.metrics.collect('gcLastSuccess', gauge => {
      if (schedule.succeeded !== undefined) gauge.set(schedule.succeeded / 1000)
    })
  }

  /** Starts the schedule. */
  start(): Promise<void> {
    return this.#schedule.start()
  }

  /**
   * Runs expiry and garbage collection, and yields what they remove. Throws GcRunningError while another run is under
   * way. Rejects when the process stops.
   */
  async *collect({ dryRun, signal }: GcRequest = {}): AsyncGenerator<GcEvent> {
    if (this.#running) throw new GcRunningError()
    const running = Promise.withResolvers<void>()
    this.#running = running.promise
    const { metrics, log } = this.#deps
    const combined = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal
    const release = dryRun ? async () => {} : await this.#acquireLease(running.resolve)
    try {
      let last: GcEvent | undefined
      for await (const event of this.#events(combined, dryRun)) {
        if (event.type === 'remove' && !dryRun) countRemoval(event, metrics, log)
        last = event
        yield event
      }
      if (last?.type !== 'done' || dryRun) return
      await this.#schedule.recordSuccess()
      logGcRun(last, metrics, log)
    } catch (error) {
      if (!dryRun) logGcRun(error as Error, metrics, log, combined)
      throw error
    } finally {
      await release()
      this.#running = undefined
      running.resolve()
    }
  }

  async #acquireLease(onFailure: () => void): Promise<() => Promise<void>> {
    try {
      return await this.#deps.content.coordination.acquireRemovalLease()
    } catch (error) {
      this.#running = undefined
      onFailure()
      throw error
    }
  }

  async *#events(signal: AbortSignal, dryRun: true | undefined): AsyncGenerator<GcEvent> {
    const { storage, content, config, busy } = this.#deps
    const yielder = createYield(signal, busy)
    const { gc, registry } = config()
    yield* this.#expire(signal, dryRun)
    const unreferencedCached = registry.mode === 'Proxy' ? 'keep' : 'sweep'
    yield* collect(storage, content, { ...gc, unreferencedCached, yielder, ...(dryRun ? { dryRun } : {}) })
  }

  async *#expire(signal: AbortSignal, dryRun: true | undefined): AsyncGenerator<Removal> {
    const { storage, content, config, upstreams, pins, busy } = this.#deps
    const { grace } = config().gc
    const view = { config: config(), upstreams: upstreams(), content }
    const before = await expiryOf(view, Date.now(), signal)
    const policy = { reason: 'expired', before, pinned: await pins(), grace } as const
    yield* evict(storage, content, policy, { yielder: createYield(signal, busy), ...(dryRun ? { dryRun } : {}) })
  }

  // Errors are logged.
  async #runScheduled(): Promise<boolean> {
    try {
      for await (const _ of this.collect());
      return true
    } catch {
      return false
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('the registry stops'))
    await this.#schedule.stop()
    // A run whose caller no longer reads its events never ends.
    await Promise.race([this.#running, delay(1_000, undefined, { ref: false })])
  }
}
