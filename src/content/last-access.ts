import { LRUCache } from 'lru-cache'
import type { Key, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import * as keys from './keys.ts'
import type { Provenance } from './provenance.ts'
import type { Coordination } from './shared/coordination.ts'

const hour = 3_600_000
// A bucket that holds nothing cached has no mark to renew, and each try would cost a copy.
const lookedAgain = 60_000
const remembered = 50_000

interface LastAccessDeps {
  storage: Storage
  provenance: Pick<Provenance, 'recordsWritten'>
  coordination: Pick<Coordination, 'touchCostsRequest'>
  now?: () => number
}

/**
 * When what was cached was last asked for: the time of its mark of origin, renewed at most once in `every`, and more exactly from memory. What was pushed has no mark,
 * and nobody asks when it was needed.
 */
export class LastAccess {
  readonly #storage: Storage
  readonly #provenance: Pick<Provenance, 'recordsWritten'>
  readonly #coordination: Pick<Coordination, 'touchCostsRequest'>
  readonly #now: () => number
  readonly #seen = new LRUCache<Key, { at: number; touched: number }>({ max: remembered })
  /** When somebody looked whether anything is cached, and how many marks this process had set by then. */
  #looked: { at: number; marks: number; nothing: boolean } | undefined
  /** ms; shorter where cached content lives for a few hours only. */
  #every = hour

  constructor({ storage, provenance, coordination, now = Date.now }: LastAccessDeps) {
    this.#storage = storage
    this.#provenance = provenance
    this.#coordination = coordination
    this.#now = now
  }

  /** What was not asked for in `ttl` ms expires: times on disk are kept exact enough for that after a restart. */
  setTtl(ttl: number): void {
    this.#every = Math.min(hour, ttl / 4)
  }

  /** Content of `name` was asked for. Nobody waits for the disk. */
  record(name: Name, digest: Digest): void {
    const key = keys.provenanceRecord(name, digest)
    const at = this.#now()
    const known = this.#seen.get(key)
    if (known) known.at = at
    if (known && at - known.touched < this.#every) return
    this.#seen.set(key, { at, touched: at })
    // A time that is lost makes content look older, and the cache a little worse.
    if (this.#coordination.touchCostsRequest && this.#nothingCached(at)) return
    void this.#storage.touch([key]).catch(() => {})
  }

  // As far as is known: another process may have begun to cache within the last minute.
  #nothingCached(at: number): boolean {
    const { recordsWritten: marks } = this.#provenance
    const known = this.#looked
    if (!known || known.marks !== marks || at - known.at >= lookedAgain) {
      const looked = { at, marks, nothing: false }
      this.#looked = looked
      this.#look().then(
        any => {
          looked.nothing = !any
        },
        () => {}
      )
    }
    return this.#looked?.nothing === true
  }

  async #look(): Promise<boolean> {
    for await (const _ of this.#storage.walk(keys.provenance)) return true
    return false
  }

  /** The last time, in ms since the epoch; undefined if the content has no mark. */
  async of(name: Name, digest: Digest): Promise<number | undefined> {
    const key = keys.provenanceRecord(name, digest)
    const mark = await this.#storage.stat(key)
    return mark && Math.max(mark.modified, this.#seen.peek(key)?.at ?? 0)
  }
}
