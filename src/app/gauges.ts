import type { Storage, Usage } from '../../storage/storage.ts'
import type { Gateway } from '../api/gateway.ts'
import type { Content } from '../content/content.ts'
import type { Fills } from '../content/fill/fills.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** Sets the gauges of the running process each time the metrics are scraped. */
export function collectGauges(
  metrics: Metrics,
  { storage, gateway, content, fills }: { storage: Storage; gateway: Gateway; content: Content; fills: Fills }
): void {
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
