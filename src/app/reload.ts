import { setTimeout as delay } from 'node:timers/promises'
import { configDifference, needRestart } from '../../config/difference.ts'
import type { Config } from '../../config/schema.ts'
import { createMutex } from '../../storage/keyed-mutex.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** What became of the last change of the configuration, for `/status`. */
export interface LastReload {
  at: string
  result: 'applied' | 'unchanged' | 'refused' | 'faulty'
  changed?: string[]
  reason?: string
}

/** What a reload needs from the process. */
export interface ReloadDeps {
  /** Reads the configuration anew; throws a ConfigError with every fault. */
  load: () => Config
  /** Makes a configuration the one in force; what it leaves behind goes on until it is done. Rejects without having changed anything. */
  apply: (next: Config, changed: readonly string[]) => Promise<void>
  log: Logger
  metrics: Metrics
}

// Whoever writes the file may not be done yet: it has to read the same twice.
const secondLook = 200

/** Takes over changed settings while the process runs. */
export class Reload {
  readonly #deps: ReloadDeps
  #current: Config
  #last: LastReload | undefined
  readonly #mutex = createMutex()
  /** The last refusal, so that looking at the same file again says nothing new. */
  #lastReported = ''

  constructor(current: Config, parts: ReloadDeps) {
    this.#current = current
    this.#deps = parts
  }

  get last(): LastReload | undefined {
    return this.#last
  }

  /** Looks at the configuration and takes over what has changed, all of it or nothing. Never rejects. */
  check(): Promise<LastReload> {
    return this.#mutex(() => this.#check())
  }

  async #check(): Promise<LastReload> {
    const { load, apply } = this.#deps
    try {
      const next = load()
      const changed = configDifference(this.#current, next)
      if (changed.length === 0) return this.#done({ result: 'unchanged' })
      await delay(secondLook)
      if (configDifference(next, load()).length > 0) return this.#check()
      const stuck = needRestart(changed)
      if (stuck.length > 0) return this.#done({ result: 'refused', changed, reason: `only a restart can change ${stuck.join(', ')}` })
      await apply(next, changed)
      this.#current = next
      return this.#done({ result: 'applied', changed })
    } catch (error) {
      return this.#done({ result: 'faulty', reason: (error as Error).message })
    }
  }

  #done(what: Omit<LastReload, 'at'>): LastReload {
    const last = { at: new Date().toISOString(), ...what }
    const said = JSON.stringify(what)
    const before = this.#last?.result
    // A fault that was taken back is over.
    if (what.result !== 'unchanged' || before === 'faulty' || before === 'refused') this.#last = last
    if (said === this.#lastReported && what.result !== 'applied') return last
    this.#lastReported = said
    this.#report(last)
    return last
  }

  #report(last: LastReload): void {
    const { log, metrics } = this.#deps
    const { result, changed, reason } = last
    metrics.reloads.inc({ result })
    if (result === 'applied') log.info({ changed }, 'the changed configuration is in force')
    else if (result !== 'unchanged')
      log.error({ changed, reason }, 'the changed configuration is refused; the one before it stays in force')
  }
}
