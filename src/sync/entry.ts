import { type Digest, isDigest } from '../oci/digest.ts'
import { isName, isTag, type Name } from '../oci/name.ts'

/** What an entry is about: a tag; a manifest of a repository; a blob that a repository may read. */
export type EntryKind = 'tag' | 'revision' | 'link'

/** When an entry was written: ms since the epoch by the cluster clock, and a count within that millisecond. */
export interface Stamp {
  time: number
  count: number
}

/** One mutable key and its value. `key` is a tag or a digest; without `value` it is a tombstone. */
export interface Entry {
  name: Name
  kind: EntryKind
  key: string
  value?: Digest
  stamp: Stamp
  /** The name of the replica that wrote it. */
  origin: string
}

/** What identifies an entry: kind, repository and key. */
export type EntryKey = string & { readonly [entryKey]: true }
declare const entryKey: unique symbol

/** A replica's name, as the configuration takes it. */
export const replicaNamePattern = '^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'
const replicaName = new RegExp(replicaNamePattern)

// Half of what a number holds exactly: the other half is for those that supersede such a stamp.
const maxTime = 2 ** 52
const maxCount = 2 ** 16

/** The key of an entry. Names and tags have no space. */
export function keyOf({ kind, name, key }: Pick<Entry, 'kind' | 'name' | 'key'>): EntryKey {
  return `${kind} ${name} ${key}` as EntryKey
}

/** Negative if `a` is the earlier one. */
export function compareStamps(a: Stamp, b: Stamp): number {
  return a.time - b.time || a.count - b.count
}

/**
 * Whether `a` wins over `b`, of the same key: a total order, so that merging is the same in any order and any number of
 * times. At the same stamp and origin a tombstone wins, which removes that value and nothing else. Two values differ
 * there only if two replicas have one name by mistake.
 */
export function supersedes(a: Entry, b: Entry): boolean {
  if (isLater(a, b) || isLater(b, a)) return isLater(a, b)
  if (a.value === undefined || b.value === undefined) return a.value === undefined && b.value !== undefined
  return a.value > b.value
}

/** Whether `a` was written later than `b`, maybe of another key; of two at once the origins decide. */
export function isLater(a: Pick<Entry, 'stamp' | 'origin'>, b: Pick<Entry, 'stamp' | 'origin'>): boolean {
  const order = compareStamps(a.stamp, b.stamp)
  return order === 0 ? a.origin > b.origin : order > 0
}

/**
 * The stamp of a write at `now` that has seen the stamps `seen`: it is later than all of them, whatever the clocks say.
 * The count is bounded, so that a stamp far in the future is left behind by a millisecond and cannot be used up.
 */
export function nextStamp(now: number, ...seen: readonly (Stamp | undefined)[]): Stamp {
  let next: Stamp = { time: now, count: 0 }
  for (const each of seen) {
    if (!each || compareStamps(next, each) > 0) continue
    next = each.count + 1 < maxCount ? { time: each.time, count: each.count + 1 } : { time: each.time + 1, count: 0 }
  }
  return next
}

/** An entry as it is sent: kind, name, key, value (0 for a tombstone), time, count, origin. */
export type SentEntry = [EntryKind, string, string, string | 0, number, number, string]

/** The form in which an entry is sent. */
export function sendEntry({ kind, name, key, value, stamp, origin }: Entry): SentEntry {
  return [kind, name, key, value ?? 0, stamp.time, stamp.count, origin]
}

/**
 * An entry of a peer; undefined if no replica writes such a one. A stamp in the future is accepted: replicas would
 * differ for ever.
 */
export function parseEntry(sent: unknown): Entry | undefined {
  if (!Array.isArray(sent) || sent.length !== 7) return undefined
  const [kind, name, key, value, time, count, origin] = sent as unknown[]
  if (kind !== 'tag' && kind !== 'revision' && kind !== 'link') return undefined
  if (typeof name !== 'string' || !isName(name) || typeof key !== 'string') return undefined
  if (kind === 'tag' ? !isTag(key) : !isDigest(key)) return undefined
  if (value !== 0 && (typeof value !== 'string' || !isDigest(value) || (kind === 'revision' && value !== key))) return undefined
  if (!isCount(time, maxTime) || !isCount(count, maxCount) || !isReplicaName(origin)) return undefined
  return { kind, name, key, ...(value === 0 ? {} : { value }), stamp: { time, count }, origin }
}

/** Whether a peer's text is the name of a replica. */
export function isReplicaName(text: unknown): text is string {
  return typeof text === 'string' && replicaName.test(text)
}

/** Whether a peer's value is a whole number from 0 to below `limit`. */
export function isCount(value: unknown, limit = Number.MAX_SAFE_INTEGER): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < limit
}
