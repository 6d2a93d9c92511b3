import { openTls, type Tls, type TlsFiles } from '../ports/tls.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** The TLS side of the registry port, with what happens to its files in log and metrics; looked at every `interval` ms. */
export async function openCertificates(files: TlsFiles, interval: number, metrics: Metrics, log: Logger): Promise<Tls> {
  const publish = (expiry: Tls['expiry']) => {
    for (const [kind, date] of Object.entries(expiry)) metrics.certificateExpiry.set({ kind }, date.getTime() / 1000)
  }
  const tls = await openTls({
    files,
    interval,
    now: Date.now,
    onReload: expiry => {
      publish(expiry)
      log.info({ expiry }, 'certificates were read again')
    },
    onFault: fault => {
      metrics.reloadFaults.inc({ kind: 'certificates' })
      log.error({ err: fault, files }, 'a certificate needs attention')
    },
    onRefused: refused => log.warn(refused, 'a client certificate did not verify; its connection is closed')
  })
  publish(tls.expiry)
  return tls
}
