import { type Digest, isDigest } from '../oci/digest.ts'
import { isName, isTag, type Name, type Tag } from '../oci/name.ts'
import { type Entry, isCount, isReplicaName, parseEntry, type SentEntry, type Stamp } from './entry.ts'
import { type BucketSum, bucketCount } from './table/buckets.ts'

/** The version of the messages. A peer of another one is not followed. */
export const syncVersion = 1

/** Entries in one message at most. */
export const maxEntries = 2_000

/** Where a reader is in the feed of an incarnation. */
export interface FeedPosition {
  incarnation: string
  seq: number
}

/** Who asks. */
export interface Asker {
  version: number
  replica: string
  incarnation: string
}

/**
 * What replicas ask each other. `feed`: what changed after a position; waits for a change. `inventory`: which buckets
 * differ from these. `bucket`: the entries of one. `confirm`: take these entries, and say when your clients see them.
 * `lookup`: what you know of a key.
 */
export type Question = Asker &
  (
    | { kind: 'feed'; after: FeedPosition; waitMs: number }
    | { kind: 'inventory'; sums: readonly BucketSum[] }
    | { kind: 'bucket'; bucket: number; after: string }
    | { kind: 'confirm'; entries: readonly SentEntry[]; waitMs: number }
    | { kind: 'lookup'; name: string; reference: string; of: 'manifest' | 'blob'; covering?: Covering }
  )

/** Only a replica that has missed nothing of this collection of `replica` is meant: what others have may be removed. */
export interface Covering {
  replica: string
  at: number
}

/** The answer to `feed`. */
export interface FeedAnswer {
  version: number
  replica: string
  incarnation: string
  /** The replica's own clock, in ms since the epoch, and for how many ms it waited for a change. */
  now: number
  waitedMs: number
  /**
   * Absent if the position is none of this incarnation: then the reader takes the inventory, and reads on after `head`.
   */
  entries?: SentEntry[]
  next: number
  head: number
  root: string
  /**
   * When tombstones were last collected, by the cluster clock, 0 for never; the latest of them; the last place of one
   * in the feed.
   */
  collected: { at: number; time: number; count: number; seq: number }
  /** The reader's collection of which this replica has missed nothing. */
  covered: number
}

/** The answer to `inventory`. */
export interface InventoryAnswer {
  head: number
  differing: number[]
}

/** The answer to `bucket`. `next` is the `after` of the following question. */
export interface BucketAnswer {
  entries: SentEntry[]
  next?: string
}

/** The answer to `confirm`. */
export interface ConfirmAnswer {
  applied: boolean
  reason?: string
}

/** The answer to `lookup`: the entry of the key, and the digest of what this replica itself can serve. */
export interface LookupAnswer {
  entry?: SentEntry
  here?: string
}

/** A peer sent what no replica sends. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

type Fields = Record<string, unknown>

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new ProtocolError(`the ${what} is no JSON object`)
  return value as Fields
}

/** Entries that were sent; a ProtocolError for too many, or for one that no replica writes. */
export function readEntries(value: unknown): Entry[] {
  if (!Array.isArray(value) || value.length > maxEntries) throw new ProtocolError(`not a list of at most ${maxEntries} entries`)
  return value.map(each => {
    const entry = parseEntry(each)
    if (!entry) throw new ProtocolError(`an entry of bad form: ${JSON.stringify(each)?.slice(0, 200)}`)
    return entry
  })
}

/** An answer to `feed`. */
export function readFeed(value: unknown): Omit<FeedAnswer, 'entries' | 'collected'> & {
  entries: Entry[] | undefined
  collected: { at: number; horizon: Stamp; seq: number }
} {
  const { version, replica, incarnation, now, waitedMs, entries, next, head, root, collected, covered } = fieldsOf(value, 'answer')
  if (version !== syncVersion)
    throw new ProtocolError(`it speaks version ${String(version).slice(0, 20)} of the protocol, this one ${syncVersion}`)
  const { at, time, count, seq } = fieldsOf(collected, 'field collected')
  if (
    !isReplicaName(replica) ||
    !isIncarnation(incarnation) ||
    !isCount(now) ||
    !isCount(waitedMs) ||
    !isCount(covered) ||
    typeof root !== 'string'
  )
    throw new ProtocolError('an answer of bad form')
  if (!isCount(at) || !isCount(time) || !isCount(count) || !isCount(seq) || !isCount(next) || !isCount(head) || next > head)
    throw new ProtocolError('an answer of bad form')
  return {
    version,
    replica,
    incarnation,
    now,
    waitedMs,
    entries: entries === undefined ? undefined : readEntries(entries),
    next,
    head,
    root,
    collected: { at, horizon: { time, count }, seq },
    covered
  }
}

/** An answer to `inventory`. */
export function readInventory(value: unknown): InventoryAnswer {
  const { head, differing } = fieldsOf(value, 'answer')
  if (!isCount(head) || !Array.isArray(differing) || differing.length > bucketCount || !differing.every(each => isCount(each, bucketCount)))
    throw new ProtocolError('an inventory of bad form')
  return { head, differing }
}

/** An answer to `bucket`. */
export function readBucket(value: unknown): { entries: Entry[]; next: string | undefined } {
  const { entries, next } = fieldsOf(value, 'answer')
  if (next !== undefined && typeof next !== 'string') throw new ProtocolError('a bucket of bad form')
  return { entries: readEntries(entries), next }
}

/** An answer to `confirm`. */
export function readConfirm(value: unknown): ConfirmAnswer {
  const { applied, reason } = fieldsOf(value, 'answer')
  return { applied: applied === true, ...(typeof reason === 'string' ? { reason: reason.slice(0, 500) } : {}) }
}

/** An answer to `lookup`. */
export function readLookup(value: unknown): { entry: Entry | undefined; here: Digest | undefined } {
  const { entry, here } = fieldsOf(value, 'answer')
  if (here !== undefined && (typeof here !== 'string' || !isDigest(here))) throw new ProtocolError('an answer of bad form')
  return { entry: entry === undefined ? undefined : readEntries([entry])[0], here }
}

/** What a peer asks for. */
export type ReadQuestion =
  | { kind: 'feed'; after: FeedPosition; waitMs: number }
  | { kind: 'inventory'; sums: readonly BucketSum[] }
  | { kind: 'bucket'; bucket: number; after: string }
  | { kind: 'confirm'; entries: Entry[]; waitMs: number }
  | { kind: 'lookup'; name: Name; reference: Tag | Digest; of: 'manifest' | 'blob'; covering?: Covering }

/** A question of a peer; a ProtocolError if it has another form. */
export function readQuestion(value: unknown): ReadQuestion & Asker {
  const fields = fieldsOf(value, 'question')
  const { version, replica, incarnation } = fields
  if (version !== syncVersion)
    throw new ProtocolError(`version ${syncVersion} of the protocol is spoken here, not ${String(version).slice(0, 20)}`)
  if (!isReplicaName(replica) || !isIncarnation(incarnation)) throw new ProtocolError('the question does not say which replica asks')
  return { version, replica, incarnation, ...readParticulars(fields) }
}

function readParticulars({ kind, after, waitMs, sums, bucket, entries, name, reference, of, covering }: Fields): ReadQuestion {
  if (kind === 'feed') return { kind, after: readPosition(after), waitMs: readWait(waitMs) }
  if (kind === 'inventory' && Array.isArray(sums) && sums.length === bucketCount && sums.every(isSum)) return { kind, sums }
  if (kind === 'bucket' && isCount(bucket, bucketCount) && typeof after === 'string') return { kind, bucket, after }
  if (kind === 'confirm') return { kind, entries: readEntries(entries), waitMs: readWait(waitMs) }
  if (kind === 'lookup' && (of === 'manifest' || of === 'blob') && typeof name === 'string' && isName(name)) {
    if (typeof reference === 'string' && (isDigest(reference) || (of === 'manifest' && isTag(reference))))
      return { kind, name, reference, of, ...(covering === undefined ? {} : { covering: readCovering(covering) }) }
  }
  throw new ProtocolError('a question of bad form')
}

function readPosition(value: unknown): FeedPosition {
  const { incarnation, seq } = fieldsOf(value, 'position')
  if ((incarnation !== '' && !isIncarnation(incarnation)) || !isCount(seq)) throw new ProtocolError('a position of bad form')
  return { incarnation, seq }
}

function readCovering(value: unknown): Covering {
  const { replica, at } = fieldsOf(value, 'collection')
  if (!isReplicaName(replica) || !isCount(at)) throw new ProtocolError('a collection of bad form')
  return { replica, at }
}

function readWait(value: unknown): number {
  return isCount(value) ? Math.min(value, maxWaitMs) : 0
}

/** How long an answer may be waited for on the other side, in ms. */
export const maxWaitMs = 30_000

function isIncarnation(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= 64
}

function isSum(value: unknown): value is BucketSum {
  return Array.isArray(value) && value.length === 3 && value.every(each => isCount(each, 2 ** 32))
}
