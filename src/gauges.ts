import type { Storage } from '../storage/storage.ts'
import type { Gateway } from './api/gateway.ts'
import type { Content } from './content/content.ts'
import type { Fills } from './content/fills.ts'
import type { Metrics } from './telemetry/metrics.ts'

/** Values that are read when Prometheus asks. */
export function watchState(
  metrics: Metrics,
  { storage, gateway, content, fills }: { storage: Storage; gateway: Gateway; content: Content; fills: Fills }
): void {
  metrics.gauge('registry_storage_bytes', 'Bytes of the filesystem that holds the storage.', ['state'], async function () {
    const { free, total } = await storage.usage()
    this.set({ state: 'free' }, free)
    this.set({ state: 'total' }, total)
  })
  metrics.gauge('registry_storage_inodes', 'Inodes of the filesystem that holds the storage.', ['state'], async function () {
    const { inodesFree, inodesTotal } = await storage.usage()
    this.set({ state: 'free' }, inodesFree)
    this.set({ state: 'total' }, inodesTotal)
  })
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
