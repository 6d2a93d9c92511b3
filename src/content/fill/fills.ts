import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Storage } from '../../../storage/storage.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Commit } from '../commit.ts'
import { Fill, type FillResult, type FillSource } from './fill.ts'

/** How a fill ended, for log and metrics. */
export interface FillEvent {
  digest: Digest
  upstream: string
  result: FillResult
  bytes: number
  ms: number
  error?: Error
}

/** Makes capacity for so many bytes; resolves to whether they fit. */
export type EnsureCapacity = (bytes: number) => Promise<boolean>

// After an I/O error of the storage, no fill is started for this long.
const pauseMs = 10_000

/** The fills of the process, one per digest. */
export class Fills {
  readonly #storage: Storage
  readonly #commit: Commit
  readonly #running = new Map<Digest, Fill>()
  /** The running ones, and those that have failed and still clean up. */
  readonly #unfinished = new Set<Fill>()
  readonly #onEnd: (event: FillEvent) => void
  readonly #now: () => number
  readonly #ensureCapacity: EnsureCapacity
  /** The fills that capacity was made for, and their sizes. */
  readonly #admitted = new Map<Fill, number>()
  readonly #admission = createMutex()
  #pausedUntil = 0

  constructor(
    storage: Storage,
    commit: Commit,
    onEnd: (event: FillEvent) => void,
    now: () => number = Date.now,
    ensureCapacity: EnsureCapacity = async bytes => (await storage.shortage(bytes)) === undefined
  ) {
    this.#storage = storage
    this.#commit = commit
    this.#onEnd = onEnd
    this.#now = now
    this.#ensureCapacity = ensureCapacity
  }

  /** How many fills are running. */
  get running(): number {
    return this.#running.size
  }

  /** The fill of `digest`, if there is one. */
  find(digest: Digest): Fill | undefined {
    return this.#running.get(digest)
  }

  /** Starts a fill. Undefined if `maxFills` are running, or if the storage had an I/O error a moment ago. */
  start(
    wanted: { digest: Digest; name: Name; upstream: string; maxFills: number },
    open: (signal: AbortSignal) => Promise<FillSource>
  ): Fill | undefined {
    const now = this.#now()
    if (this.#running.size >= wanted.maxFills || now < this.#pausedUntil) return undefined
    const context = { storage: this.#storage, commit: this.#commit, admit: this.#admit.bind(this), onEnd: this.#ended.bind(this) }
    const fill = new Fill(context, { ...wanted, now }, open)
    this.#running.set(wanted.digest, fill)
    this.#unfinished.add(fill)
    void fill.done.then(() => this.#unfinished.delete(fill))
    return fill
  }

  // One at a time: capacity that one fill was promised is not there for the next.
  #admit(fill: Fill, size: number): Promise<void> {
    return this.#admission(async () => {
      let needed = size
      for (const [each, whole] of this.#admitted) needed += Math.max(0, whole - each.offset)
      if (!(await this.#ensureCapacity(needed))) throw await noCapacity(this.#storage, needed)
      this.#admitted.set(fill, size)
    })
  }

  #ended(fill: Fill, result: FillResult, error?: Error): void {
    const now = this.#now()
    this.#running.delete(fill.digest)
    this.#admitted.delete(fill)
    if (result === 'medium') this.#pausedUntil = now + pauseMs
    const { digest, upstream, offset: bytes } = fill
    this.#onEnd({ digest, upstream, result, bytes, ms: now - fill.startedAt, ...(error ? { error } : {}) })
  }

  /** Cancels all fills; resolves when they have cleaned up. */
  async close(): Promise<void> {
    const all = [...this.#unfinished]
    for (const fill of all) fill.cancel(new Error('the registry stops'))
    await Promise.all(all.map(fill => fill.done))
  }
}

async function noCapacity(storage: Storage, bytes: number): Promise<Error> {
  const shortage = await storage.shortage(bytes)
  return Object.assign(new Error(shortage?.reason ?? `there is no capacity for ${bytes} more bytes`), { code: 'EDQUOT' })
}
