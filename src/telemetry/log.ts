import { destination, type Logger, type LoggerOptions, pino } from 'pino'

export type { Logger } from 'pino'

/**
 * Creates a log of JSON lines on standard output. Lines are buffered for at most half a second, since a write per
 * request costs more than the request. Warnings, errors and the end of the process flush at once.
 */
export function createLog(level: string): Logger {
  const stream = destination({ dest: 1, sync: false, minLength: 8192, periodicFlush: 500 })
  const flush = () => {
    try {
      stream.flushSync()
    } catch {
      // Standard output is closed or not open yet.
    }
  }
  process.once('exit', flush)
  const hooks: LoggerOptions['hooks'] = {
    logMethod(args, method, number) {
      method.apply(this, args)
      if (number >= urgent) setImmediate(flush)
    }
  }
  return pino({ ...lineOptions, level, hooks }, stream)
}

/** The form of all lines: time in ISO 8601, the name of the level, and no secrets. */
export const lineOptions: LoggerOptions = {
  base: null,
  timestamp: () => `,"time":"${new Date().toISOString()}"`,
  formatters: { level: label => ({ level: label }), log: withoutSecrets }
}

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
