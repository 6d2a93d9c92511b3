import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import { expiryOf } from '../backend/expiry.ts'
import type { Content } from '../content/content.ts'
import type { FreeSpace } from '../content/gc/capacity.ts'
import { collect, type GcEvent, type Removal } from '../content/gc/collect.ts'
import { evict } from '../content/gc/evict.ts'
import { createYield } from '../content/gc/yield.ts'
import { countRemoval, logGcRun } from '../telemetry/gc.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { PinReader } from './pin-file.ts'
import { Schedule } from './schedule.ts'

/** What maintenance needs from the process. */
export interface GcRunnerDeps {
  storage: Storage
  content: Content
  /** Those in force. */
  config: () => Config
  upstreams: () => ReadonlyMap<string, Upstream>
  pins: PinReader
  /** Whether requests run, which come first. */
  busy: () => boolean
  metrics: Metrics
  log: Logger
}

/** How a collection is asked for. */
export interface GcOptions {
  dryRun?: true
  signal?: AbortSignal
}

/** Another collection runs already. */
export class GcRunningError extends Error {
  override readonly name = 'GcRunningError'

  constructor() {
    super('a collection is running already')
  }
}

// Of the budget; what is made free at once, so that not every fill has to wait.
const margin = 0.05
const mostMargin = 1024 ** 3
// What an inode too many is worth in bytes, for who counts bytes only.
const perInode = 4096

/** How full a store is, for those who make room in it. */
export async function freeSpaceOf(storage: Storage): Promise<FreeSpace> {
  const { budget, total } = await storage.usage()
  return {
    marginBytes: Math.min(mostMargin, (budget ?? total ?? Number.POSITIVE_INFINITY) * margin),
    missingBytes: async bytes => {
      const shortage = await storage.shortage(bytes)
      if (!shortage) return 0
      return shortage.unit === 'inodes' ? shortage.excess * perInode : shortage.excess
    }
  }
}

/** Removes what nothing needs and what expired, from time to time and when it is asked to. */
export class GcRunner {
  readonly #parts: GcRunnerDeps
  readonly #stop = new AbortController()
  readonly #schedule: Schedule
  /** Resolves when the collection that runs has ended. */
  #running: Promise<void> | undefined

  constructor(parts: GcRunnerDeps) {
    this.#parts = parts
    this.#schedule = new Schedule({
      storage: parts.storage,
      coordination: parts.content.coordination,
      every: () => parts.config().gc.every,
      run: () => this.#runAlone(),
      onWake: () => {
        parts.content.holds.setGrace(parts.config().gc.grace)
        parts.content.lastAccess.setTtl(parts.config().registry.upstream?.ttl ?? Number.POSITIVE_INFINITY)
      }
    })
    const schedule = this.#schedule
    parts.metrics.collect('gcLastSuccess', gauge => {
      if (schedule.succeeded !== undefined) gauge.set(schedule.succeeded / 1000)
    })
  }

  /** Begins to collect from time to time. */
  start(): Promise<void> {
    return this.#schedule.start()
  }

  /** One collection, and what goes while it runs. Throws CollectionRunning if there is one. Ends early, with an error, if the process stops. */
  async *collect({ dryRun, signal }: GcOptions = {}): AsyncGenerator<GcEvent> {
    if (this.#running) throw new GcRunningError()
    const running = Promise.withResolvers<void>()
    this.#running = running.promise
    const { metrics, log } = this.#parts
    const ended = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal
    const release = dryRun ? async () => {} : await this.#turn(running.resolve)
    try {
      let last: GcEvent | undefined
      for await (const event of this.#events(ended, dryRun)) {
        if (event.type === 'remove' && !dryRun) countRemoval(event, metrics, log)
        last = event
        yield event
      }
      if (last?.type !== 'done' || dryRun) return
      await this.#schedule.recordSuccess()
      logGcRun(last, metrics, log)
    } catch (error) {
      if (!dryRun) logGcRun(error as Error, metrics, log, ended)
      throw error
    } finally {
      await release()
      this.#running = undefined
      running.resolve()
    }
  }

  async #turn(ended: () => void): Promise<() => Promise<void>> {
    try {
      return await this.#parts.content.coordination.acquireRemovalLease()
    } catch (error) {
      this.#running = undefined
      ended()
      throw error
    }
  }

  async *#events(signal: AbortSignal, dryRun: true | undefined): AsyncGenerator<GcEvent> {
    const { storage, content, config, busy } = this.#parts
    const pace = createYield(signal, busy)
    const { gc, registry } = config()
    yield* this.#expire(signal, dryRun)
    const loose = registry.mode === 'Proxy' ? 'keep' : 'sweep'
    yield* collect(storage, content, { ...gc, unreferencedCached: loose, pace, ...(dryRun ? { dryRun } : {}) })
  }

  async *#expire(signal: AbortSignal, dryRun: true | undefined): AsyncGenerator<Removal> {
    const { storage, content, config, upstreams, pins, busy } = this.#parts
    const { grace } = config().gc
    const view = { config: config(), upstreams: upstreams(), content }
    const before = await expiryOf(view, Date.now(), signal)
    const policy = { reason: 'expired', before, pinned: await pins(), grace } as const
    yield* evict(storage, content, policy, { pace: createYield(signal, busy), ...(dryRun ? { dryRun } : {}) })
  }

  // What went wrong stands in the log.
  async #runAlone(): Promise<boolean> {
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
    // Whoever asked for one may have left it standing.
    await Promise.race([this.#running, delay(1_000, undefined, { ref: false })])
  }
}
