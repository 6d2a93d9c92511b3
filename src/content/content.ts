import { createKeyedMutex } from '../../storage/keyed-mutex.ts'
import type { Storage } from '../../storage/storage.ts'
import { type Descriptor, isManifestType } from '../oci/descriptor.ts'
import type { Name } from '../oci/name.ts'
import { Blobs } from './blobs.ts'
import type { ChangeListener } from './changes.ts'
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
import { type Coordination, type CoordinationOptions, createCoordination, type DeletionBarrier } from './shared/coordination.ts'
import { Sizes } from './sizes.ts'
import { Tags } from './tags.ts'
import { Uploads } from './uploads/uploads.ts'

/** What is stored, as repositories: one for the process, whatever mode it is in. */
export interface Content {
  coordination: Coordination
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

/**
 * What a child of an index is in `name`, whatever its media type says; that tells it only where neither is linked. An
 * index may list blobs, as BuildKit's cache of layers does.
 */
export async function kindOfChild(
  { manifests, blobs }: Pick<Content, 'manifests' | 'blobs'>,
  name: Name,
  { digest, mediaType }: Descriptor
): Promise<'manifest' | 'blob'> {
  if (await manifests.linked(name, digest)) return 'manifest'
  return (await blobs.linked(name, digest)) || !isManifestType(mediaType) ? 'blob' : 'manifest'
}

/** What `openContent` may be told. */
export interface ContentOptions extends CoordinationOptions {
  /** The time by the storage's clock, in ms since the epoch. */
  now?: () => number
  onChange?: ChangeListener
}

/** Content over `storage`. Each damaged object is passed to `reportDamage` whenever it is met. */
export function openContent(
  storage: Storage,
  reportDamage: ReportDamage,
  { now = () => storage.now?.() ?? Date.now(), onChange, ...options }: ContentOptions = {}
): Content {
  const coordination = createCoordination(storage, options)
  const links = new Links(storage, reportDamage, coordination.cacheTtlMs)
  const holds = new Holds(storage, coordination, now)
  const barrier = coordination.createBarrier(links, (digest, modified) => holds.renew(digest, modified))
  const quarantine = new Quarantine({ storage, holds, coordination, ...(options.clock ? { clock: options.clock } : {}) })
  const manifests = new Manifests(storage, links, quarantine, reportDamage)
  const sizes = new Sizes(manifests, coordination, options.clock)
  const tags = new Tags(storage, links)
  const names = new Names(storage)
  const provenance = new Provenance(storage, coordination.cacheTtlMs)
  const shared = { storage, links, manifests, tags, provenance, holds, mutex: createKeyedMutex() }
  const commit = new Commit({ ...shared, sizes, barrier, quarantine, now, onChange })
  return {
    coordination,
    blobs: new Blobs({ storage, coordination, links, sizes, holds, barrier, quarantine, reportDamage }),
    manifests,
    tags,
    names,
    referrers: new Referrers(storage, manifests, tags),
    uploads: new Uploads(storage, coordination, commit, names),
    sizes,
    provenance,
    holds,
    barrier,
    quarantine,
    lastAccess: new LastAccess({ storage, provenance, coordination, now }),
    commit,
    removals: new Removals({ ...shared, coordination })
  }
}
