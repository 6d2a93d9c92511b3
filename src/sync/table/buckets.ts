import { hash } from 'node:crypto'
import { type Entry, type EntryKey, keyOf, sendEntry } from '../entry.ts'

/** How many buckets an inventory has. */
export const bucketCount = 256

/** A bucket in short: how many entries, and the exclusive or of what they are. Equal sums have equal entries. */
export type BucketSum = [entries: number, high: number, low: number]

/** The sums of all entries of a table, by the first byte of the digest of the key, kept as the table changes. */
export class Buckets {
  readonly #sums: BucketSum[] = Array.from({ length: bucketCount }, () => [0, 0, 0])
  readonly #total: BucketSum = [0, 0, 0]
  readonly #keys = Array.from({ length: bucketCount }, () => new Set<EntryKey>())

  add(entry: Entry): void {
    const key = keyOf(entry)
    const bucket = bucketOf(key)
    this.#keys[bucket]?.add(key)
    this.#change(entry, bucket, 1)
  }

  remove(entry: Entry): void {
    const key = keyOf(entry)
    const bucket = bucketOf(key)
    this.#keys[bucket]?.delete(key)
    this.#change(entry, bucket, -1)
  }

  #change(entry: Entry, bucket: number, by: 1 | -1): void {
    const digest = hashOf(JSON.stringify(sendEntry(entry)))
    for (const sum of [this.#sums[bucket] as BucketSum, this.#total]) {
      sum[0] += by
      sum[1] = (sum[1] ^ digest.readUInt32LE(0)) >>> 0
      sum[2] = (sum[2] ^ digest.readUInt32LE(4)) >>> 0
    }
  }

  /** The keys of a bucket. */
  keys(bucket: number): ReadonlySet<EntryKey> {
    return this.#keys[bucket] ?? new Set()
  }

  /** A copy of the sums. */
  sums(): BucketSum[] {
    return this.#sums.map(each => [...each])
  }

  /** The sum of all entries: tables with the same root have the same entries. */
  root(): string {
    return this.#total.join('-')
  }

  /** The numbers of the buckets in which `other` differs. */
  differing(other: readonly BucketSum[]): number[] {
    return this.#sums.flatMap((sum, bucket) => (sum.join() === other[bucket]?.join() ? [] : [bucket]))
  }
}

function bucketOf(key: EntryKey): number {
  return hashOf(key)[0] as number
}

function hashOf(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}
