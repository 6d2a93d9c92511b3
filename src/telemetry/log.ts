import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'
import { LineWriter } from './line-writer.ts'

export type { Logger } from 'pino'

// A write per request costs more than the request.
const gathering = { gatherChars: 8192, gatherMs: 500, maxHeldChars: 1024 * 1024, reservedChars: 256 * 1024 }

/**
 * Creates a log of JSON lines on standard output. Lines are buffered for at most half a second; warnings, errors and
 * the end of the process flush at once. A reader that stalls costs lines, never a request.
 */
export function createLog(level: string): Logger {
  const time = lineOptions.timestamp
  const lostLine = (lines: number) =>
    `{"level":"warn"${time()},"lines":${lines},"msg":"standard output took no lines for a while: some are lost"}\n`
  const output = new LineWriter(1, { ...gathering, lostLine })
  process.once('exit', () => output.flushSync())
  const hooks: LoggerOptions['hooks'] = {
    logMethod(args, method, number) {
      method.apply(this, args)
      // Standard output is closed.
      if (number >= urgent) output.flush().catch(() => {})
    }
  }
  return pino({ ...lineOptions, level, hooks }, output)
}

/** The form of all lines: time in ISO 8601, the name of the level, and no secrets. */
export const lineOptions = {
  base: null,
  timestamp: () => `,"time":"${new Date().toISOString()}"`,
  formatters: { level: (label: string) => ({ level: label }), log: withoutSecrets }
} satisfies LoggerOptions

// The numeric level of warnings.
const urgent = 40
const secrets = ['authorization', 'password'] as const

// A line without secrets is not copied: pino's own redaction copies every line, which costs 4 % of the time of a
// manifest request.
function withoutSecrets(fields: Record<string, unknown>): Record<string, unknown> {
  let hidden: Record<string, unknown> | undefined
  for (const name in fields) {
    const value = fields[name]
    const shown = isSecret(name) ? '***' : holdsSecret(value) ? withoutSecrets(value) : value
    if (shown !== value) hidden = { ...(hidden ?? fields), [name]: shown }
  }
  return hidden ?? fields
}

function isSecret(name: string): boolean {
  return name === 'authorization' || name === 'password'
}

function holdsSecret(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && secrets.some(name => Object.hasOwn(value, name))
}

/** What a log writes to. */
export function outputOf(log: Logger): DestinationStream & { flush?: () => Promise<void> } {
  return (log as unknown as Record<symbol, DestinationStream>)[pino.symbols.streamSym] ?? { write: () => {} }
}
