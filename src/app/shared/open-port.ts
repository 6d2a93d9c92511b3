import type { Server } from 'node:http'
import { addressText } from '../../ports/address.ts'
import { drain, type PortLimits } from '../../ports/listen.ts'
import { openTls, type RefusedCertificate, type Tls, type TlsFiles } from '../../ports/tls.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { watchIntervalMs } from '../context.ts'

/** A port that listens. */
export interface OpenedPort extends AsyncDisposable {
  /** `<host>:<port>` */
  readonly address: string
  /** Lets running requests end for at most so many ms; resolves to whether all of them did. */
  drain(limitMs: number): Promise<boolean>
}

/** What a port reports to. */
export interface PortReports {
  readonly metrics: Metrics
  readonly log: Logger
}

/** The port of a server that listens. */
export function openedPort(server: Server): OpenedPort {
  return {
    address: addressText(server),
    drain: limitMs => drain(server, limitMs),
    [Symbol.asyncDispose]: async () => void (await drain(server, 0))
  }
}

/**
 * Reads the TLS files of a port, and again whenever they change; `on` is told of that and of refused certificates, and
 * `kindOf` says what a kind of expiry is called in the metrics.
 */
export async function openCertificates(
  files: TlsFiles,
  { metrics, log }: PortReports,
  on: { reload?: () => void; refused?: (refused: RefusedCertificate) => void; kindOf?: (kind: string) => string } = {}
): Promise<Tls> {
  const publish = (expiry: Tls['expiry']) => {
    for (const [kind, date] of Object.entries(expiry)) {
      metrics.certificateExpiry.set({ kind: on.kindOf?.(kind) ?? kind }, date.getTime() / 1000)
    }
  }
  const tls = await openTls({
    files,
    intervalMs: watchIntervalMs,
    now: Date.now,
    onReload: expiry => {
      publish(expiry)
      log.info({ expiry }, 'certificates were reloaded')
      on.reload?.()
    },
    onFault: fault => {
      metrics.reloadFaults.inc({ kind: 'certificates' })
      log.error({ err: fault, files }, 'certificates cannot be used or are outside their validity')
    },
    onRefused: refused => {
      log.warn(refused, 'a client certificate did not verify; its connection is closed')
      on.refused?.(refused)
    }
  })
  publish(tls.expiry)
  return tls
}

const closedBecause = {
  idle: 'an idle connection was closed for a new one',
  unread: 'a connection was closed: its client does not read the response',
  pipelined: 'a connection was closed: it pipelined too many requests'
}

// Clients can cause them at any rate: the log tells of one in a second, the metrics of all.
const warnAgainMs = 1_000

/** Logs a warning of each message at most once in a second. */
export function seldomWarnings(log: Logger): (message: string, fields: object) => void {
  const warnedAtMs = new Map<string, number>()
  return (message, fields) => {
    const now = performance.now()
    if (now - (warnedAtMs.get(message) ?? Number.NEGATIVE_INFINITY) < warnAgainMs) return
    warnedAtMs.set(message, now)
    log.warn(fields, message)
  }
}

/** What a port reports of its connections. */
export function connectionReports(
  { metrics, log }: PortReports,
  limit: () => number,
  setting: string
): Pick<PortLimits, 'onClosed' | 'onRefused'> {
  const isReached = `${setting} is reached`
  const warn = seldomWarnings(log)
  const report = (address: string, message: string) => warn(message, { address, limit: limit() })
  return {
    onClosed(address, reason) {
      metrics.connectionsClosed.inc({ reason })
      report(address, reason === 'idle' ? `${closedBecause.idle}: ${isReached}` : closedBecause[reason])
    },
    onRefused(address) {
      metrics.connectionsDropped.inc()
      report(address, `a connection was refused: ${isReached}`)
    }
  }
}
