// prom-client exports its default metrics all together only.
declare module 'prom-client/lib/metrics/*.js' {
  import type { Registry } from 'prom-client'

  const metric: (register: Registry, config: { eventLoopMonitoringPrecision: number }) => void
  export default metric
}
