import { destination, type Logger, pino } from 'pino'

export type { Logger } from 'pino'

/**
 * JSON lines on standard output. Lines are gathered for at most half a second, since a write per request costs more than the request; errors and the end of the
 * process flush at once.
 */
export function createLog(level: string): Logger {
  const stream = destination({ dest: 1, sync: false, minLength: 8192, periodicFlush: 500 })
  const flush = () => {
    try {
      stream.flushSync()
    } catch {
      // Standard output is gone or not open yet; there is nobody to tell.
    }
  }
  process.once('exit', flush)
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
      redact: { paths: ['authorization', 'password', '*.authorization', '*.password'], censor: '***' },
      hooks: {
        logMethod(args, method, number) {
          method.apply(this, args)
          if (number >= urgent) setImmediate(flush)
        }
      }
    },
    stream
  )
}

const urgent = 40
