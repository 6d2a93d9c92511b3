import { LRUCache } from 'lru-cache'
import type { Key, Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import * as keys from './keys.ts'
import type { Provenance } from './provenance.ts'
import type { Coordination } from './shared/coordination.ts'

const maxRenewalMs = 3_600_000
// In a bucket that holds nothing cached there is no record to renew, and each attempt would cost a request.
const scanIntervalMs = 60_000
const maxEntries = 50_000

interface LastAccessDeps {
  storage: Storage
  provenance: Pick<Provenance, 'recordsWritten'>
  coordination: Pick<Coordination, 'touchCostsRequest'>
  now?: () => number
}

/**
 * The last access of cached content: the time of its provenance record, renewed at most once in `renewalMs`, and more
 * exact in memory. Pushed content has no record, and its last access is never asked for.
 */
export class LastAccess {
  readonly #storage: Storage
  readonly #provenance: Pick<Provenance, 'recordsWritten'>
  readonly #coordination: Pick<Coordination, 'touchCostsRequest'>
  readonly #now: () => number
  readonly #accesses = new LRUCache<Key, { at: number; touchedAt: number }>({ max: maxEntries })
  /** The last scan for provenance records, and how many this process had written by then. */
  #scan: { at: number; recordsWritten: number; empty: boolean } | undefined
  /** Shorter where cached content lives for a few hours only. */
  #renewalMs = maxRenewalMs

  constructor({ storage, provenance, coordination, now = Date.now }: LastAccessDeps) {
    this.#storage = storage
    this.#provenance = provenance
    this.#coordination = coordination
    this.#now = now
  }

  /**
   * Sets the TTL after which content expires without an access: stored times are exact enough for it after a restart.
   */
  setTtl(ttlMs: number): void {
    this.#renewalMs = Math.min(maxRenewalMs, ttlMs / 4)
  }

  /** Records an access. The record is renewed in the background. */
  record(name: Name, digest: Digest): void {
    const key = keys.provenanceRecord(name, digest)
    const at = this.#now()
    const known = this.#accesses.get(key)
    if (known) known.at = at
    if (known && at - known.touchedAt < this.#renewalMs) return
    this.#accesses.set(key, { at, touchedAt: at })
    if (this.#coordination.touchCostsRequest && this.#nothingCached(at)) return
    // A time that is lost makes content look older, and the cache a little worse.
    void this.#storage.touch([key]).catch(() => {})
  }

  // As of the last scan: another process may have begun to cache since.
  #nothingCached(at: number): boolean {
    const { recordsWritten } = this.#provenance
    const known = this.#scan
    if (!known || known.recordsWritten !== recordsWritten || at - known.at >= scanIntervalMs) {
      const scan = { at, recordsWritten, empty: false }
      this.#scan = scan
      this.#hasRecords().then(
        any => {
          scan.empty = !any
        },
        () => {}
      )
    }
    return this.#scan?.empty === true
  }

  async #hasRecords(): Promise<boolean> {
    for await (const _ of this.#storage.walk(keys.provenance)) return true
    return false
  }

  /** The last access, in ms since the epoch; undefined if the content has no provenance record. */
  async of(name: Name, digest: Digest): Promise<number | undefined> {
    const key = keys.provenanceRecord(name, digest)
    const record = await this.#storage.stat(key)
    return record && Math.max(record.modified, this.#accesses.peek(key)?.at ?? 0)
  }
}
