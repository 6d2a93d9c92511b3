import type { Key, Storage } from '../../../storage/storage.ts'
import { algorithmOf, canonical, type Digest, isDigest } from '../../oci/digest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import type { Content } from '../content.ts'
import type { DigestSet } from '../digest-table.ts'
import type { ConcurrentPushes } from './concurrent-pushes.ts'
import type { Yield } from './yield.ts'

/**
 * Why something is removed. `unreferenced`: no manifest needs it. `untagged`: no tag leads to it. `expired`: it was not
 * requested for the TTL. `room`: capacity was needed. `broken`: debris of a change that did not end. `empty`: nothing
 * is in it.
 */
export type RemovalReason = 'unreferenced' | 'untagged' | 'expired' | 'room' | 'broken' | 'empty'

/** Something that was removed, or in a dry run would be. `bytes` is what that frees. */
export interface Removal {
  type: 'remove'
  kind: 'blob' | 'manifest' | 'tag' | 'link' | 'upload' | 'repository'
  name?: Name
  digest?: Digest
  tag?: Tag
  bytes?: number
  reason: RemovalReason
}

/** How far garbage collection has come. */
export interface GcProgress {
  type: 'progress'
  phase: 'mark' | 'sweep'
  repositories: number
  marked: number
  removed: number
  bytes: number
}

/** The end of garbage collection, with the removals of each kind. */
export interface GcDone {
  type: 'done'
  marked: number
  removed: Record<Removal['kind'], number>
  bytes: number
  ms: number
}

/**
 * An event of garbage collection. `unclear`: a manifest is damaged or of an unknown kind, so everything that its
 * repository may read is kept.
 */
export type GcEvent = Removal | GcProgress | GcDone | { type: 'unclear'; name: Name; digest: Digest }

/** The state of one garbage collection. */
export interface GcRun {
  storage: Storage
  content: Content
  yielder: Yield
  now: () => number
  /** The grace period, in ms. It covers a push from its first blob to its manifest. */
  grace: number
  /** Pushed manifests without a tag are removed after so many ms; undefined: never. */
  untagged: number | undefined
  /** Whether unreferenced cached blobs are kept; the cache then decides by their last access. */
  unreferencedCached: 'keep' | 'sweep'
  mode: 'remove' | 'report'
  /** Reachable digests, and those that were held since the run began. */
  marked: DigestSet
  held: DigestSet
  concurrentPushes: ConcurrentPushes
}

/**
 * The digest under which the bytes lie to which the link `key` leads. Distribution stores everything under sha256,
 * whatever it was pushed by.
 */
export async function targetOf({ storage }: GcRun, key: Key, digest: Digest): Promise<Digest> {
  if (algorithmOf(digest) === canonical) return digest
  const text = (await storage.get(key))?.toString('latin1').trim()
  return text !== undefined && isDigest(text) ? text : digest
}
