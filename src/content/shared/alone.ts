import type { Storage } from '../../../storage/storage.ts'
import * as keys from '../keys.ts'
import { createDirectoryListing } from '../listing.ts'
import type { Coordination, DeletionBarrier } from './coordination.ts'

// GC's grace period is much longer than this.
const renewAfterMs = 60_000
// Digests that need one of a batch wait for all of it; one sync of a directory serves it.
const batchSize = 64
// Removed one after another. A batch makes eight such rows side by side: half of the threads stay for requests.
const rowSize = 8

const barrier: DeletionBarrier = {
  readEpoch: async () => 0,
  isUnchanged: async () => true,
  findRemoved: async () => []
}

/** The form of coordination of a process that owns its storage: there is nothing to agree on. */
export function createAlone(storage: Storage): Coordination {
  return {
    othersWrite: false,
    cacheTtlMs: undefined,
    reread: async () => undefined,
    acquireRemovalLease: async () => async () => {},
    announce: (_digests, task) => task(() => undefined),
    acquireLease: async () => ({ signal: new AbortController().signal, release: async () => {} }),
    now: Date.now,
    createBarrier: () => barrier,
    renewAfterMs: () => renewAfterMs,
    wasUsedElsewhere: async () => false,
    listing: createDirectoryListing(storage),
    removalBatch: { size: batchSize, perDirectory: true },
    removeBytes: async digests => {
      const rows = Array.from({ length: Math.ceil(digests.length / rowSize) }, (_, row) =>
        digests.slice(row * rowSize, (row + 1) * rowSize)
      )
      await Promise.all(rows.map(row => storage.remove(row.map(keys.blob), keys.blobs)))
    },
    objectsAreWhole: false,
    touchCostsRequest: false
  }
}
