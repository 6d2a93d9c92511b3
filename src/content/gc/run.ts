import type { Key, Storage } from '../../../storage/storage.ts'
import { algorithmOf, canonical, type Digest, isDigest } from '../../oci/digest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import type { Content } from '../content.ts'
import type { DigestSet } from '../digest-table.ts'
import type { ConcurrentPushes } from './concurrent-pushes.ts'
import type { Yield } from './yield.ts'

/**
 * Why something goes: no manifest needs it, no tag names it any more, nobody asked for it for so long, there has to be room, it is what a broken-off change left, or
 * there is nothing in it.
 */
export type RemovalReason = 'unreferenced' | 'untagged' | 'expired' | 'room' | 'broken' | 'empty'

/** Something that goes, or in a dry run would go. `bytes` are those that it frees. */
export interface Removal {
  type: 'remove'
  kind: 'blob' | 'manifest' | 'tag' | 'link' | 'upload' | 'repository'
  name?: Name
  digest?: Digest
  tag?: Tag
  bytes?: number
  reason: RemovalReason
}

/** How far a collection is. */
export interface GcProgress {
  type: 'progress'
  phase: 'mark' | 'sweep'
  repositories: number
  marked: number
  removed: number
  bytes: number
}

/** The end of a collection, with how many of each kind went. */
export interface GcDone {
  type: 'done'
  marked: number
  removed: Record<Removal['kind'], number>
  bytes: number
  ms: number
}

/** What a collection tells. `unclear`: a manifest is damaged or of an unknown kind, so that everything stays that its repository may read. */
export type GcEvent = Removal | GcProgress | GcDone | { type: 'unclear'; name: Name; digest: Digest }

/** What one collection knows. */
export interface GcRun {
  storage: Storage
  content: Content
  yielder: Yield
  now: () => number
  /** What was not needed for so many ms may go: a push takes its time from the first blob to the manifest. */
  grace: number
  /** Pushed manifests without a tag go after so many ms; undefined: never. */
  untagged: number | undefined
  /** Whether cached blobs that no manifest needs stay; their time is kept by the cache. */
  unreferencedCached: 'keep' | 'sweep'
  mode: 'remove' | 'tell'
  /** What is needed, and what somebody held since the run began. */
  marked: DigestSet
  held: DigestSet
  /** When what other processes push was last looked for. */
  concurrentPushes: ConcurrentPushes
}

/** The digest under which something lies whose link is `key`: Distribution keeps all under sha256, whatever it was pushed by. */
export async function targetOf({ storage }: GcRun, key: Key, digest: Digest): Promise<Digest> {
  if (algorithmOf(digest) === canonical) return digest
  const text = (await storage.get(key))?.toString('latin1').trim()
  return text !== undefined && isDigest(text) ? text : digest
}
