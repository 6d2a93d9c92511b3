import { X509Certificate } from 'node:crypto'
import type { ControllerEvents } from '../../controller/cluster/cluster-controller.ts'
import type { ClusterOutcome } from '../../controller/machine/machine.ts'
import type { Observed } from '../../controller/machine/observed.ts'
import type { ClientHooks } from '../../kubernetes/client.ts'
import type { Metrics } from '../../telemetry/metrics.ts'

/** Whether a controller has a metric of the table: the others are of parts that it does not have. */
export function isControllerMetric(key: string): boolean {
  return key.startsWith('controller') || key === 'build'
}

/** What a controller reports. */
export interface ControllerWatch extends Pick<ControllerEvents, 'looked' | 'failed'> {
  answered: NonNullable<ClientHooks['answered']>
  leads(does: boolean): void
  /** For `/status`. */
  status(): Record<string, unknown>
}

/** Sets the metrics of a controller by what it finds. */
export function observeController(metrics: Metrics): ControllerWatch {
  let last: { outcome: ClusterOutcome; observed: Observed } | undefined
  let fault: string | undefined
  metrics.controllerLeader.set(0)
  metrics.collect('controllerConditionSince', gauge => {
    gauge.reset()
    for (const { type, status, lastTransitionTime } of last?.outcome.state.conditions ?? [])
      gauge.set({ type, status }, Date.parse(lastTransitionTime) / 1000)
  })
  metrics.collect('controllerNodes', gauge => {
    const wanted = last?.outcome.state.bashible.config?.version
    const nodes = last?.observed.nodes ?? []
    const current = nodes.filter(({ version }) => version === wanted).length
    gauge.set({ state: 'current' }, current)
    gauge.set({ state: 'behind' }, wanted === undefined ? 0 : nodes.length - current)
  })
  metrics.collect('controllerCertificateExpiry', gauge => {
    const cert = last?.observed.material.pki?.ca.cert
    if (cert !== undefined) gauge.set(new X509Certificate(cert).validToDate.getTime() / 1000)
  })
  return {
    answered: (method, status) => metrics.controllerApiRequests.inc({ method, code: status === 0 ? 'none' : String(status) }),
    leads: does => metrics.controllerLeader.set(does ? 1 : 0),
    looked: (outcome, observed) => {
      last = { outcome, observed }
      fault = undefined
    },
    failed: error => {
      metrics.controllerFailures.inc()
      fault = error.message
    },
    status: () => {
      const { mode, target_mode, conditions } = last?.outcome.state ?? {}
      return { mode, targetMode: target_mode, conditions, ...(fault === undefined ? {} : { fault }) }
    }
  }
}
