import { openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import type { RemovalLeaseTimes } from '../../src/content/shared/removal-lease.ts'
import { type S3Options, S3Storage } from '../../storage/s3/s3.ts'
import { hour, noYield } from '../support/collect.ts'
import { createBodyClient } from '../support/s3-server.ts'

/** The only argument of a collector, as JSON. */
export interface CollectorTask {
  options: Omit<S3Options, 'createBodyClient'>
  times: RemovalLeaseTimes
}

/** A grace period of an hour, also for untagged manifests. */
export const policy = { grace: hour, untagged: hour, unreferencedCached: 'sweep', yielder: noYield } as const

// A process that runs garbage collection once, for the test to kill.
if (process.argv[1] === import.meta.filename) {
  const { options, times } = JSON.parse(process.argv[2] ?? '') as CollectorTask
  const storage = await S3Storage.open({ ...options, createBodyClient })
  for await (const _ of collect(
    storage,
    openContent(storage, () => {}, { now: Date.now, metadataTtlMs: 0, leaseTimes: times }),
    policy
  ));
  await storage.close()
}
