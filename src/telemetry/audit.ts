import { pino } from 'pino'
import { AuditFile } from './audit-file.ts'
import { LineWriter } from './line-writer.ts'
import { type Logger, lineOptions, outputOf } from './log.ts'
import { Recurrences } from './recurrences.ts'

/** One line of the audit stream; `action` says what was done. */
export interface AuditEntry {
  readonly action: string
  /** The user, `anonymous`, or `local` for what is done on the node itself. */
  readonly actor: string
  /** The remote address, and the request, as the request log has them. */
  readonly address?: string
  readonly request?: string
  readonly [field: string]: unknown
}

/** What the stream needs of the process. */
export interface AuditDeps {
  log: Logger
  /** Called when lines had no room in memory while a file took none. */
  onLost(lines: number): void
}

/** The audit stream takes no lines at present; what it was told is held in memory. */
export class AuditUnavailable extends Error {
  override readonly name = 'AuditUnavailable'
}

// Each line of a refusal has some 300 bytes: at most 0.3 MiB in an interval, whatever clients send.
const refusalLimits = { intervalMs: 300_000, maxKinds: 500, maxKindsOfOrigin: 20 }
// Every pull without credentials begins with one, so that they may not use up the lines of refusals.
const challengeLimits = { intervalMs: 3_600_000, maxKinds: 1_000, maxKindsOfOrigin: 1 }
const loginLimits = { intervalMs: 3_600_000, maxKinds: 10_000, maxKindsOfOrigin: 1_000 }
// A disk that hangs gives no error.
const waitMs = 5_000

/**
 * Who did what, as a stream of its own: on standard output beside the log, whatever the log level is, or in a file. A
 * line is handed to the system before its request is answered. While it is not taken, changes are refused.
 */
export class Audit implements AsyncDisposable {
  readonly #deps: AuditDeps
  #lines: Logger
  #output: Output
  #stalled = false
  #started = false
  readonly #refusals: Recurrences<AuditEntry>
  readonly #challenges: Recurrences<AuditEntry>
  readonly #logins: Recurrences<AuditEntry>

  private constructor(deps: AuditDeps, { lines, output }: Target) {
    this.#deps = deps
    this.#lines = lines
    this.#output = output
    const repeat = (entry: AuditEntry, more: object) => void this.record({ ...entry, ...more })
    const counted = (action: string, limits: typeof refusalLimits) =>
      new Recurrences<AuditEntry>(
        limits,
        ({ fields, repeated, sinceMs }) => repeat(fields, { repeated, since: timeText(sinceMs) }),
        (others, sinceMs) => repeat({ action, actor: 'several' }, { others, since: timeText(sinceMs) })
      )
    this.#refusals = counted('refuse', refusalLimits)
    this.#challenges = counted('challenge', challengeLimits)
    this.#logins = counted('login', loginLimits)
  }

  /** Opens the stream: `stdout`, or the path of a file. Rejects if the file cannot be used. */
  static async open(target: string, deps: AuditDeps): Promise<Audit> {
    return new Audit(deps, await openTarget(target, deps))
  }

  /** Writes that the registry is ready, and when the stream ends that it has stopped. */
  start(fields: object): Promise<void> {
    this.#started = true
    return this.record({ action: 'start', actor: 'registry', ...fields })
  }

  /** Opens another target; the returned function puts it in force. */
  async prepare(target: string): Promise<() => void> {
    const next = await openTarget(target, this.#deps)
    return () => {
      const { file: old } = this.#output
      this.#lines = next.lines
      this.#output = next.output
      this.#stalled = false
      void old?.close().catch(() => {})
    }
  }

  /** Whether the output gives no answer, so that an orderly end of the process would wait for it. */
  get stalled(): boolean {
    return this.#stalled
  }

  /** Undefined while lines are taken; else tries again, and rejects with AuditUnavailable if they still are not. */
  ready(): Promise<void> | undefined {
    return this.#stalled || this.#output.file?.fault !== undefined ? this.#flush() : undefined
  }

  /** Writes changes of the content. Rejects with AuditUnavailable if their lines are not written yet. */
  recordChanges(entries: readonly AuditEntry[]): Promise<void> {
    for (const entry of entries) this.#lines.info(entry, 'content changed')
    return this.#flush()
  }

  /** Writes a line; resolves when it is written or the stream is known to take none. */
  async record(entry: AuditEntry): Promise<void> {
    this.#lines.info(entry, 'audit')
    await this.#flush().catch(() => {})
  }

  /**
   * Writes the first refusal of its kind, actor and address in an interval, and counts the others. Undefined if there
   * is no line to wait for.
   */
  refuse(kind: string, refusal: Omit<AuditEntry, 'action'>): Promise<void> | undefined {
    const entry = { ...refusal, action: 'refuse' } as AuditEntry
    return this.#refusals.count(`${kind} ${entry.actor} ${entry.address}`, entry, `${entry.address}`) ? this.record(entry) : undefined
  }

  /** The same for requests that are refused because they have no credentials, by address. */
  challenge(refusal: Omit<AuditEntry, 'action'>): Promise<void> | undefined {
    const entry = { ...refusal, action: 'challenge' } as AuditEntry
    return this.#challenges.count(`${entry.address}`, entry, `${entry.address}`) ? this.record(entry) : undefined
  }

  /** Writes the first login of a user at an address in an interval, and counts the others. */
  login(actor: string, address: string, request: string): Promise<void> | undefined {
    const kind = `${actor} ${address}`
    // Each request of a user comes here.
    if (this.#logins.repeat(kind)) return undefined
    const entry = { action: 'login', actor, address, request }
    return this.#logins.count(kind, entry, address) ? this.record(entry) : undefined
  }

  /** Has a file that was renamed made anew at the next line. */
  reopen(): void {
    this.#output.file?.reopen()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#refusals.flush()
    this.#challenges.flush()
    this.#logins.flush()
    if (this.#started) await this.record({ action: 'stop', actor: 'registry' })
    if (!this.#stalled) await this.#output.file?.close().catch(() => {})
  }

  async #flush(): Promise<void> {
    const output = this.#output
    const { lost } = output
    output.lost = false
    const flushed = output.flush()
    if (this.#stalled) {
      flushed.catch(() => {})
      throw new AuditUnavailable(`${output.name} does not answer`)
    }
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      this.#stalled = true
      const answered = () => {
        this.#stalled = false
      }
      flushed.then(answered, answered)
      late.reject(new Error(`${output.name} does not answer`))
    }, waitMs)
    try {
      await Promise.race([flushed, late.promise])
    } catch (cause) {
      throw new AuditUnavailable(`${output.name} takes no lines: ${(cause as Error).message}`, { cause })
    } finally {
      clearTimeout(timer)
    }
    if (lost) throw new AuditUnavailable(`${output.name} had no room for a line`)
  }
}

interface Target {
  lines: Logger
  output: Output
}

// What takes the lines.
interface Output {
  name: string
  flush(): Promise<void>
  /** Whether a line had no room since the last flush; lines are written and flushed in one turn of the event loop. */
  lost: boolean
  file?: AuditFile
}

async function openTarget(target: string, { log, onLost }: AuditDeps): Promise<Target> {
  if (target === 'stdout') {
    const output = outputOf(log)
    // Without a reader there is no stream of which a line could be missing.
    const flush = async () => output.flush?.().catch(() => {})
    const append = (line: string) => {
      if (output instanceof LineWriter) return output.write(line, { essential: true })
      output.write(line)
      return true
    }
    return targetOf(append, { name: 'standard output', flush, lost: false })
  }
  let opened: Target
  const file = await AuditFile.open(target, {
    onFault: error => log.error({ err: error, file: target }, 'the audit file takes no lines: pushes and deletions are refused'),
    onRecovery: lost => {
      log.warn({ file: target, lost }, 'the audit file takes lines again')
      if (lost === 0) return
      onLost(lost)
      opened.lines.warn({ action: 'lose', actor: 'registry', lines: lost }, 'audit')
      file.flush().catch(() => {})
    }
  }).catch(cause => {
    throw new Error(`log.audit: ${(cause as Error).message}`, { cause })
  })
  opened = targetOf(line => file.append(line), { name: 'the audit file', flush: () => file.flush(), lost: false, file })
  return opened
}

function targetOf(append: (line: string) => boolean, output: Output): Target {
  const write = (line: string) => {
    if (!append(line)) output.lost = true
  }
  return { lines: auditLogger(write), output }
}

// Not a child of the log, whose level it would share.
function auditLogger(write: (line: string) => void): Logger {
  return pino({ ...lineOptions, level: 'info' }, { write }).child({ audit: true })
}

function timeText(atMs: number): string {
  return new Date(atMs).toISOString()
}
