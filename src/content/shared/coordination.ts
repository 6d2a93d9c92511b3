import type { Clock } from '../../../storage/clock.ts'
import type { Lease } from '../../../storage/lease.ts'
import type { Key, ObjectStat, Storage } from '../../../storage/storage.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Links } from '../links.ts'
import type { Listing } from '../listing.ts'
import { createAlone } from './alone.ts'
import type { AssertHeld, RemovalLeaseTimes } from './removal-lease.ts'
import { createShared } from './shared.ts'

/** Content that a client is about to be told exists, and the link that leads to it. */
export interface ReportedContent {
  link: Key
  digest: Digest
}

/** Gives bytes a new time, so that their age protects them from removal; resolves to whether the storage took it. */
export type Renew = (digest: Digest, modified: number) => Promise<boolean>

/** The check, before a client is told that content exists, that no other process is about to remove it. */
export interface DeletionBarrier {
  /**
   * Call before reading state that will be reported to a client. Drops cached links if another process has run GC since
   * the last call, and returns an epoch.
   */
  readEpoch(): Promise<number>
  /** Whether no other process has removed anything since `epoch`, nor may be doing so now. */
  isUnchanged(epoch: number): Promise<boolean>
  /**
   * Resolves to the content among `reported` that is gone. The rest is protected from removal by its age, in every
   * process. Rejects with `ESTALLED` if the storage does not take a new time. Free while no other process removes.
   */
  findRemoved(reported: readonly ReportedContent[], epoch: number): Promise<ReportedContent[]>
}

/** A lease that this process holds until it is released. `signal` is aborted when it is lost. */
export type HeldLease = Pick<Lease, 'signal' | 'release'>

/** How many digests one removal takes. */
export interface RemovalBatch {
  size: number
  /** Whether a batch ends with the directory that its digests share: one sync then serves all of them. */
  perDirectory: boolean
}

/**
 * What processes that share a storage have to agree on, and how the storage differs where they share one. Its form
 * `alone` costs nothing: this process owns the storage, and its memory and its holds are the truth. In the form
 * `shared` they are not.
 */
export interface Coordination {
  /** Whether other processes write to the storage too: what this process has read or written may have changed since. */
  readonly othersWrite: boolean
  /** How long a cached read counts, in ms; undefined: until this process changes it. */
  readonly cacheTtlMs: number | undefined
  /** What another process may have put under `key` since this one read or put it; undefined where none writes. */
  reread(key: Key): Promise<Buffer | undefined>

  /**
   * Acquires the removal lease, or joins the one that this process holds; the returned function releases it. Throws
   * LeaseHeldError.
   */
  acquireRemovalLease(): Promise<() => Promise<void>>
  /**
   * Makes `digests` pending deletions, and runs `task`, which checks their age and removes some, once every other
   * process can see that. Demands the removal lease.
   */
  announce<T>(digests: readonly Digest[], task: (assertHeld: AssertHeld) => Promise<T>): Promise<T>
  /**
   * The time by which ages count while this process holds the removal lease: never ahead of the storage's clock. In ms
   * since the epoch.
   */
  now(): number
  /**
   * Acquires the lease under `key` for other work of one process at a time; undefined while another process holds it.
   */
  acquireLease(key: Key): Promise<HeldLease | undefined>
  /** The deletion barrier, over the links that this process caches. */
  createBarrier(links: Links, renew: Renew): DeletionBarrier
  /** The age, in ms, from which bytes are given a new time when a client is told of them. */
  renewAfterMs(graceMs: number): number
  /**
   * Whether another process may have reported or published `digest` since `since` (ms since the epoch): the time of its
   * bytes is all that is known of that. `found` is their stat, if it is known.
   */
  wasUsedElsewhere(digest: Digest, since: number, found?: ObjectStat): Promise<boolean>

  /** Lists blobs and links in the way that is cheapest for the storage. */
  readonly listing: Listing
  readonly removalBatch: RemovalBatch
  /** Removes the bytes of `digests`. */
  removeBytes(digests: readonly Digest[], signal: AbortSignal | undefined): Promise<void>
  /** Whether an object is there as a whole or not at all: its size then needs no check against manifests. */
  readonly objectsAreWhole: boolean
  /** Whether renewing the time of an object costs a request even where there is no such object. */
  readonly touchCostsRequest: boolean
}

/** What the form `shared` goes by. */
export interface CoordinationOptions {
  /** How long a change by another process may go unseen, in ms. */
  metadataTtlMs?: number
  leaseTimes?: RemovalLeaseTimes
  clock?: Clock
}

/** The form that the storage demands. */
export function createCoordination(storage: Storage, options: CoordinationOptions = {}): Coordination {
  return storage.sharing === 'shared' ? createShared(storage, options) : createAlone(storage)
}
