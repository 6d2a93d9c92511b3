import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Storage } from '../../../storage/storage.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Commit } from '../commit.ts'
import { Fill, type FillResult, type FillSource } from './fill.ts'

/** The end of a fill, for log and metrics. */
export interface FillEvent {
  digest: Digest
  upstream: string
  result: FillResult
  bytes: number
  ms: number
  error?: Error
}

/** Makes room for so many bytes more; resolves to whether there is. */
export type EnsureCapacity = (bytes: number) => Promise<boolean>

// After the medium refused bytes, how long nothing is tried to be stored.
const pause = 10_000

/** The fills of the process, one a digest. */
export class Fills {
  readonly #storage: Storage
  readonly #commit: Commit
  readonly #running = new Map<Digest, Fill>()
  /** Those that have failed and still clean up too. */
  readonly #unfinished = new Set<Fill>()
  readonly #onEnd: (event: FillEvent) => void
  readonly #now: () => number
  readonly #ensureCapacity: EnsureCapacity
  /** Those that were told that there is room for them, and their sizes. */
  readonly #admitted = new Map<Fill, number>()
  readonly #admission = createMutex()
  #pausedUntil = 0

  constructor(
    storage: Storage,
    commit: Commit,
    onEnd: (event: FillEvent) => void,
    now: () => number = Date.now,
    makeRoom: EnsureCapacity = async bytes => (await storage.shortage(bytes)) === undefined
  ) {
    this.#storage = storage
    this.#commit = commit
    this.#onEnd = onEnd
    this.#now = now
    this.#ensureCapacity = makeRoom
  }

  /** How many are running. */
  get running(): number {
    return this.#running.size
  }

  /** The fill of `digest`, if there is one. */
  find(digest: Digest): Fill | undefined {
    return this.#running.get(digest)
  }

  /** Starts a fill, unless `most` are running or the medium takes nothing at the moment; then undefined. */
  start(
    wanted: { digest: Digest; name: Name; upstream: string; most: number },
    open: (signal: AbortSignal) => Promise<FillSource>
  ): Fill | undefined {
    const now = this.#now()
    if (this.#running.size >= wanted.most || now < this.#pausedUntil) return undefined
    const place = { storage: this.#storage, commit: this.#commit, admit: this.#admit.bind(this), ended: this.#ended.bind(this) }
    const fill = new Fill(place, { ...wanted, now }, open)
    this.#running.set(wanted.digest, fill)
    this.#unfinished.add(fill)
    void fill.done.then(() => this.#unfinished.delete(fill))
    return fill
  }

  // One after another: what was promised to one is not there for the next.
  #admit(fill: Fill, size: number): Promise<void> {
    return this.#admission(async () => {
      let needed = size
      for (const [each, whole] of this.#admitted) needed += Math.max(0, whole - each.offset)
      if (!(await this.#ensureCapacity(needed))) throw await noRoom(this.#storage, needed)
      this.#admitted.set(fill, size)
    })
  }

  #ended(fill: Fill, result: FillResult, error?: Error): void {
    const now = this.#now()
    this.#running.delete(fill.digest)
    this.#admitted.delete(fill)
    if (result === 'medium') this.#pausedUntil = now + pause
    const { digest, upstream, offset: bytes } = fill
    this.#onEnd({ digest, upstream, result, bytes, ms: now - fill.began, ...(error ? { error } : {}) })
  }

  /** Ends all of them; resolves when they are gone. */
  async close(): Promise<void> {
    const all = [...this.#unfinished]
    for (const fill of all) fill.cancel(new Error('the registry stops'))
    await Promise.all(all.map(fill => fill.done))
  }
}

async function noRoom(storage: Storage, bytes: number): Promise<Error> {
  const shortage = await storage.shortage(bytes)
  return Object.assign(new Error(shortage?.reason ?? `there is no room for ${bytes} bytes more`), { code: 'EDQUOT' })
}
