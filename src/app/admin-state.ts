import pkg from '../../package.json' with { type: 'json' }
import type { Usage } from '../../storage/storage.ts'
import type { Gateway } from '../api/gateway.ts'
import type { Health } from '../ports/admin.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { OpenedBackends } from './backends.ts'
import type { Background } from './background.ts'
import type { AppContext } from './context.ts'
import type { LastReload } from './reload.ts'
import type { Store } from './store.ts'

/** The parts that the admin port reports on. */
export interface HealthDeps {
  startedAtMs: number
  /** Where the registry port listens. */
  listen: string
  store: Store
  backends: OpenedBackends
  gateway: Gateway
  background: Background
  lastReload: () => LastReload | undefined
}

/** The probes and the status of the running process. */
export function createHealth({ log, audit }: AppContext, deps: HealthDeps): Health {
  const { startedAtMs, listen, store, backends, gateway, background, lastReload } = deps
  const { storage, fills } = store
  return {
    readable: () => storage.check(),
    writable: async () => {
      await audit.ready()
      await storage.checkWritable()
    },
    status: async () => {
      const reload = lastReload()
      return {
        mode: backends.modes.mode,
        version: pkg.version,
        uptimeSeconds: Math.floor((Date.now() - startedAtMs) / 1000),
        listen,
        storage: { ...store.opened.location, ...(await storage.usage()) },
        requests: { running: gateway.running, uploading: gateway.uploading },
        fills: { running: fills.running },
        scrub: background.scrubStatus(),
        upstreams: Object.fromEntries([...backends.upstreams()].map(([name, upstream]) => [name, upstream.health()])),
        ...(reload ? { reload } : {}),
        log: { level: log.level }
      }
    }
  }
}

/** Sets the gauges of the running process each time the metrics are scraped. */
export function collectGauges(metrics: Metrics, { storage, content, fills }: Store, gateway: Gateway): void {
  metrics.collect('storageBytes', async gauge => {
    const { free, total } = await storage.usage()
    if (free !== undefined) gauge.set({ state: 'free' }, free)
    if (total !== undefined) gauge.set({ state: 'total' }, total)
  })
  metrics.collect('storageInodes', async gauge => {
    const { inodesFree, inodesTotal } = await storage.usage()
    if (inodesFree !== undefined) gauge.set({ state: 'free' }, inodesFree)
    if (inodesTotal !== undefined) gauge.set({ state: 'total' }, inodesTotal)
  })
  for (const [key, amountOf] of Object.entries(usageGauges) as [keyof typeof usageGauges, (usage: Usage) => number | undefined][]) {
    metrics.collect(key, async gauge => {
      const value = amountOf(await storage.usage())
      if (value === undefined) gauge.reset()
      else gauge.set(value)
    })
  }
  metrics.collect('requestsRunning', gauge => gauge.set(gateway.running))
  metrics.collect('uploadsOpen', gauge => {
    gauge.set({ state: 'open' }, content.uploads.open)
    gauge.set({ state: 'writing' }, gateway.uploading)
  })
  metrics.collect('fillsRunning', gauge => gauge.set(fills.running))
}

const usageGauges = {
  storageUsedBytes: ({ used }: Usage) => used,
  storageUsedInodes: ({ usedInodes }: Usage) => usedInodes,
  storageBudgetBytes: ({ budget }: Usage) => budget,
  storageBudgetInodes: ({ inodeBudget }: Usage) => inodeBudget,
  storageReserveBytes: ({ reserve }: Usage) => reserve,
  storageReserveInodes: ({ inodeReserve }: Usage) => inodeReserve,
  diskStalled: ({ stalled }: Usage) => (stalled.length > 0 ? 1 : 0)
}
