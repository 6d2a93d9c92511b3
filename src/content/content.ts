import { createKeyedMutex } from '../../storage/keyed-mutex.ts'
import type { Storage } from '../../storage/storage.ts'
import { Blobs } from './blobs.ts'
import { Commit } from './commit.ts'
import { Removals } from './gc/removals.ts'
import { Holds } from './holds.ts'
import { LastAccess } from './last-access.ts'
import { Links, type ReportDamage } from './links.ts'
import { Manifests } from './manifests.ts'
import { Names } from './names.ts'
import { Provenance } from './provenance.ts'
import { Quarantine } from './quarantine.ts'
import { Referrers } from './referrers.ts'
import { DeletionBarrier } from './shared/deletion-barrier.ts'
import { RemovalLease, type RemovalLeaseTimes } from './shared/removal-lease.ts'
import { Sizes } from './sizes.ts'
import { Tags } from './tags.ts'
import { Uploads } from './uploads/uploads.ts'

/** What is stored, as repositories: one for the process, whatever mode it is in. */
export interface Content {
  blobs: Blobs
  manifests: Manifests
  tags: Tags
  names: Names
  referrers: Referrers
  uploads: Uploads
  sizes: Sizes
  provenance: Provenance
  holds: Holds
  barrier: DeletionBarrier
  lastAccess: LastAccess
  quarantine: Quarantine
  commit: Commit
  removals: Removals
}

/** What `openContent` may be told. */
export interface ContentOptions {
  /** The time by the storage's clock, in ms since the epoch. */
  now?: () => number
  /** How long a change by another process that shares the storage may go unseen. */
  metadataTtlMs?: number
  leaseTimes?: RemovalLeaseTimes
}

const defaultMetadataTtlMs = 5_000

/** Content over `storage`. Each damaged object is passed to `reportDamage` whenever it is met. */
export function openContent(
  storage: Storage,
  reportDamage: ReportDamage,
  { now = () => storage.now?.() ?? Date.now(), metadataTtlMs = defaultMetadataTtlMs, leaseTimes }: ContentOptions = {}
): Content {
  const ttl = storage.sharing === 'shared' ? metadataTtlMs : undefined
  const links = new Links(storage, reportDamage, ttl)
  const holds = new Holds(storage, now, new RemovalLease(storage, leaseTimes))
  const staying = new DeletionBarrier(storage, links, holds, holds.lease)
  const quarantine = new Quarantine(storage, holds)
  const manifests = new Manifests(storage, links, quarantine, reportDamage)
  const sizes = new Sizes(manifests, storage.sharing)
  const tags = new Tags(storage, links)
  const names = new Names(storage)
  const origins = new Provenance(storage, ttl)
  const locked = createKeyedMutex()
  const commit = new Commit({ storage, links, manifests, tags, sizes, provenance: origins, holds, staying, quarantine, locked })
  return {
    blobs: new Blobs({ storage, links, sizes, holds, staying, quarantine, reportDamage }),
    manifests,
    tags,
    names,
    referrers: new Referrers(storage, manifests, tags),
    uploads: new Uploads(storage, commit, names),
    sizes,
    provenance: origins,
    holds,
    barrier: staying,
    quarantine,
    lastAccess: new LastAccess(storage, origins, now),
    commit,
    removals: new Removals({ storage, links, manifests, tags, provenance: origins, holds, locked })
  }
}
