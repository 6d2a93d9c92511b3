import { setTimeout as delay } from 'node:timers/promises'
import { createMutex } from '../../storage/keyed-mutex.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { watchIntervalMs } from './context.ts'

/** The result of the last change of the configuration, for `/status`. */
export interface LastReload {
  at: string
  result: 'applied' | 'unchanged' | 'refused' | 'faulty'
  changed?: string[]
  reason?: string
}

/** What a reload needs of the process. */
export interface ReloadDeps<Config> {
  /** Reads the configuration; throws a ConfigError with all faults. */
  load: () => Config
  /** The paths of the settings that differ, and those of them that only a restart can change. */
  difference: (old: Config, next: Config) => string[]
  needRestart: (changed: readonly string[]) => string[]
  /** Puts a configuration in force; running requests keep what they have. Rejects without having changed anything. */
  apply: (next: Config, changed: readonly string[]) => Promise<void>
  /** Called before the configuration is read. */
  onCheck?: () => void
  /** Called with each result but that nothing changed, unless it was the last one too. */
  onResult?: (result: LastReload) => Promise<void>
  log: Logger
  metrics: Metrics
}

// The file may still be being written: it must read the same twice.
const confirmDelayMs = 200

/** Takes changed settings while the process runs. */
export class Reload<Config> {
  readonly #deps: ReloadDeps<Config>
  readonly #mutex = createMutex()
  #timer: NodeJS.Timeout | undefined
  #current: Config
  #last: LastReload | undefined
  /** The last result in JSON, so that reading an unchanged file again reports nothing. */
  #lastReported = ''

  constructor(current: Config, deps: ReloadDeps<Config>) {
    this.#current = current
    this.#deps = deps
  }

  get last(): LastReload | undefined {
    return this.#last
  }

  /** Checks regularly from now on, until it is disposed of. */
  start(): void {
    this.#timer = setInterval(() => void this.check(), watchIntervalMs).unref()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  /** Reads the configuration and takes its changes, all of them or none. Never rejects. */
  check(): Promise<LastReload> {
    this.#deps.onCheck?.()
    return this.#mutex(() => this.#check())
  }

  async #check(): Promise<LastReload> {
    const { load, apply, difference, needRestart } = this.#deps
    try {
      const next = load()
      const changed = next === this.#current ? [] : difference(this.#current, next)
      if (changed.length === 0) return await this.#done({ result: 'unchanged' })
      await delay(confirmDelayMs)
      if (difference(next, load()).length > 0) return this.#check()
      const fixed = needRestart(changed)
      if (fixed.length > 0) return await this.#done({ result: 'refused', changed, reason: `only a restart can change ${fixed.join(', ')}` })
      await apply(next, changed)
      this.#current = next
      return await this.#done({ result: 'applied', changed })
    } catch (error) {
      return await this.#done({ result: 'faulty', reason: (error as Error).message })
    }
  }

  async #done(outcome: Omit<LastReload, 'at'>): Promise<LastReload> {
    const last = { at: new Date().toISOString(), ...outcome }
    const text = JSON.stringify(outcome)
    const before = this.#last?.result
    // A fault that was undone in the file is over.
    if (outcome.result !== 'unchanged' || before === 'faulty' || before === 'refused') this.#last = last
    if (text === this.#lastReported && outcome.result !== 'applied') return last
    this.#lastReported = text
    await this.#report(last)
    return last
  }

  async #report(last: LastReload): Promise<void> {
    const { log, metrics, onResult } = this.#deps
    const { result, changed, reason } = last
    metrics.reloads.inc({ result })
    if (result === 'applied') log.info({ changed }, 'the changed configuration is in force')
    else if (result !== 'unchanged') log.error({ changed, reason }, 'the changed configuration is refused; the previous one stays in force')
    if (result !== 'unchanged') await onResult?.(last)
  }
}
