import { systemClock } from '../../../storage/clock.ts'
import { acquireLease } from '../../../storage/lease.ts'
import type { Storage } from '../../../storage/storage.ts'
import * as keys from '../keys.ts'
import { createObjectListing } from '../listing.ts'
import type { Coordination, CoordinationOptions } from './coordination.ts'
import { SharedDeletionBarrier } from './deletion-barrier.ts'
import { RemovalLease } from './removal-lease.ts'

const defaultMetadataTtlMs = 5_000
// A new time is a copy of the bytes: it has to be worth it. What is left of the grace period is time enough for a push.
const partOfGrace = 4
// Keys that one request removes; announcing them costs another request.
const batchSize = 500

/**
 * The form of coordination of a process that shares its storage: a removal lease, a deletion barrier, and times instead
 * of holds.
 */
export function createShared(
  storage: Storage,
  { metadataTtlMs = defaultMetadataTtlMs, leaseTimes, clock = systemClock }: CoordinationOptions
): Coordination {
  const { conditionalObjects } = storage
  if (!conditionalObjects) throw new Error('a shared storage without conditional objects: its processes cannot agree on anything')
  const lease = new RemovalLease(conditionalObjects, leaseTimes, clock)
  return {
    othersWrite: true,
    cacheTtlMs: metadataTtlMs,
    reread: key => storage.get(key),
    acquireRemovalLease: () => lease.acquire(),
    announce: (digests, task) => lease.announce(digests, task),
    acquireLease: key => acquireLease(conditionalObjects, key, leaseTimes?.lease, clock),
    now: () => lease.now(),
    createBarrier: (links, renew) => new SharedDeletionBarrier({ storage, links, renew, lease }),
    renewAfterMs: graceMs => graceMs / partOfGrace,
    wasUsedElsewhere: async (digest, since, known) => {
      const found = known ?? (await storage.stat(keys.blob(digest)))
      return found !== undefined && found.modified > since
    },
    listing: createObjectListing(storage),
    removalBatch: { size: batchSize, perDirectory: false },
    removeBytes: (digests, signal) => storage.remove(digests.map(keys.blob), keys.blobs, signal),
    objectsAreWhole: true,
    touchCostsRequest: true
  }
}
