import type { Storage, Usage } from '../../storage/storage.ts'
import type { Gateway } from '../api/gateway.ts'
import type { Content } from '../content/content.ts'
import type { Fills } from '../content/fill/fills.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** Values that are read when Prometheus asks. */
export function watchState(
  metrics: Metrics,
  { storage, gateway, content, fills }: { storage: Storage; gateway: Gateway; content: Content; fills: Fills }
): void {
  metrics.gauge('registry_storage_bytes', 'Bytes of the filesystem that holds the storage.', ['state'], async function () {
    const { free, total } = await storage.usage()
    if (free !== undefined) this.set({ state: 'free' }, free)
    if (total !== undefined) this.set({ state: 'total' }, total)
  })
  metrics.gauge('registry_storage_inodes', 'Inodes of the filesystem that holds the storage.', ['state'], async function () {
    const { inodesFree, inodesTotal } = await storage.usage()
    if (inodesFree !== undefined) this.set({ state: 'free' }, inodesFree)
    if (inodesTotal !== undefined) this.set({ state: 'total' }, inodesTotal)
  })
  const amount = (name: string, help: string, of: (usage: Usage) => number | undefined) =>
    metrics.gauge(name, help, [], async function () {
      const value = of(await storage.usage())
      // No limit is no number.
      if (value === undefined) this.reset()
      else this.set(value)
    })
  amount('registry_storage_used_bytes', 'Bytes of what is stored; after a crash too many for a while.', usage => usage.used)
  amount('registry_storage_used_inodes', 'Files and directories of what is stored.', usage => usage.usedInodes)
  amount('registry_storage_budget_bytes', 'What storage.budget allows.', usage => usage.budget)
  amount('registry_storage_budget_inodes', 'What storage.inodeBudget allows.', usage => usage.inodeBudget)
  amount('registry_storage_reserve_bytes', 'What storage.reserve keeps free.', usage => usage.reserve)
  amount('registry_storage_reserve_inodes', 'What storage.inodeReserve keeps free.', usage => usage.inodeReserve)
  amount('registry_disk_stalled', '1 while the disk does not answer.', ({ stalled }) => (stalled.length > 0 ? 1 : 0))
  metrics.gauge('registry_requests_running', 'Requests that are being answered.', [], function () {
    this.set(gateway.running)
  })
  metrics.gauge('registry_uploads_open', 'Upload sessions, and those of them that a request is writing to.', ['state'], function () {
    this.set({ state: 'open' }, content.uploads.open)
    this.set({ state: 'writing' }, gateway.uploading)
  })
  metrics.gauge('registry_fills_running', 'Downloads of blobs into the cache.', [], function () {
    this.set(fills.running)
  })
}
