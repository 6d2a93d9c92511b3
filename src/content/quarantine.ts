import { type Clock, systemClock } from '../../storage/clock.ts'
import type { Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Holds } from './holds.ts'
import * as keys from './keys.ts'
import type { Coordination } from './shared/coordination.ts'
import { LeaseHeldError } from './shared/removal-lease.ts'
import { listDigests } from './walk.ts'

/** A known-bad digest. */
export interface KnownDamage {
  digest: Digest
  reason: string
  /** When the damage was found, in ms since the epoch. */
  since: number
  size: number
  /** Where the damaged bytes are: in quarantine, still under their key (the storage refused the move), or gone. */
  kept: 'quarantine' | 'in place' | 'nowhere'
}

/** The state of an object when it was verified. */
export interface ObservedObject {
  size: number
  modified: number
}

// Most holds end within a moment; that of a slow client may not.
const attempts = 5
const retryMs = 200
// Bytes whose state cannot be read are not missing.
const unreadable: ObservedObject = { size: -1, modified: -1 }

interface QuarantineDeps {
  storage: Storage
  holds: Holds
  coordination: Coordination
  clock?: Clock
}

/**
 * The known-bad digests. Their bytes are moved into quarantine for examination and reported as missing, so that the
 * next push or fill heals them. A note beside the bytes outlives them and a restart. Call `load` before the first
 * request.
 */
export class Quarantine {
  readonly #storage: Storage
  readonly #holds: Holds
  readonly #coordination: Coordination
  readonly #clock: Clock
  readonly #known = new Map<Digest, KnownDamage>()
  readonly #watchers = new Set<(healed: KnownDamage) => void>()

  constructor({ storage, holds, coordination, clock = systemClock }: QuarantineDeps) {
    this.#storage = storage
    this.#holds = holds
    this.#coordination = coordination
    this.#clock = clock
  }

  /** Reads what earlier processes found; digests that were healed since are forgotten. */
  async load(): Promise<void> {
    for await (const digest of listDigests(this.#storage, keys.quarantine)) {
      if (await this.#storage.stat(keys.blob(digest))) await this.#clear(digest)
      else this.#known.set(digest, await this.#read(digest))
    }
  }

  async #read(digest: Digest): Promise<KnownDamage> {
    const bytes = await this.#storage.stat(keys.quarantined(digest))
    const note = parse((await this.#storage.get(keys.quarantineNote(digest)))?.toString())
    const found = { reason: note?.reason ?? 'not known any more', since: note?.since ?? bytes?.modified ?? this.#clock.now() }
    return { digest, ...found, size: bytes?.size ?? note?.size ?? 0, kept: bytes ? 'quarantine' : 'nowhere' }
  }

  /** Whether `digest` is known-bad: its bytes must not be served. */
  has(digest: Digest): boolean {
    // Another process may have healed it, so only bytes that could not be moved count.
    return this.#coordination.othersWrite ? this.#known.get(digest)?.kept === 'in place' : this.#known.has(digest)
  }

  /** The damage of `digest`, if it is known-bad. */
  find(digest: Digest): KnownDamage | undefined {
    return this.#known.get(digest)
  }

  /** All damage that is known. */
  list(): KnownDamage[] {
    return [...this.#known.values()]
  }

  /** The bytes in quarantine. */
  get bytes(): number {
    return this.list().reduce((sum, { kept, size }) => sum + (kept === 'quarantine' ? size : 0), 0)
  }

  /** Calls `onHealed` for each known-bad digest that is published anew; the returned function ends that. */
  watch(onHealed: (damage: KnownDamage) => void): () => void {
    this.#watchers.add(onHealed)
    return () => void this.#watchers.delete(onHealed)
  }

  /** Quarantines the bytes of `digest`; undefined if the object is no longer what was `seen`. */
  async add(digest: Digest, seen: ObservedObject, reason: string): Promise<KnownDamage | undefined> {
    const release = await this.#coordination.acquireRemovalLease().catch((error: Error) => {
      if (error instanceof LeaseHeldError) return undefined
      throw error
    })
    // The next scrub cycle finds it again.
    if (!release) return this.#markBad(digest, seen, reason, 'leave')
    try {
      return await this.#addUnderLease(digest, seen, reason)
    } finally {
      await release()
    }
  }

  async #addUnderLease(digest: Digest, seen: ObservedObject, reason: string): Promise<KnownDamage | undefined> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      let outcome: KnownDamage | 'changed' | undefined
      await this.#holds.remove(digest, async () => {
        const markBad = () => this.#markBad(digest, seen, reason, 'move')
        outcome = (await this.#coordination.announce([digest], markBad)) ?? 'changed'
        return outcome !== 'changed' && outcome.kept === 'quarantine'
      })
      if (outcome !== undefined) return outcome === 'changed' ? undefined : outcome
      await this.#clock.sleep(retryMs)
    }
    return this.#markBad(digest, seen, reason, 'leave')
  }

  /** Records that `digest` has no bytes where a link leads to it; undefined if it has. */
  addMissing(digest: Digest, reason: string): Promise<KnownDamage | undefined> {
    return this.#markBad(digest, undefined, reason, 'leave')
  }

  // Known before the stat: a publish after it calls `healed`, and one before it shows in it.
  async #markBad(
    digest: Digest,
    seen: ObservedObject | undefined,
    reason: string,
    bytes: 'move' | 'leave'
  ): Promise<KnownDamage | undefined> {
    const before = this.#known.get(digest)
    const damage: KnownDamage = {
      since: this.#clock.now(),
      ...before,
      digest,
      reason,
      size: seen?.size ?? before?.size ?? 0,
      kept: seen ? 'in place' : 'nowhere'
    }
    this.#known.set(digest, damage)
    const now = await this.#storage.stat(keys.blob(digest)).catch(() => seen ?? unreadable)
    if (now?.size !== seen?.size || now?.modified !== seen?.modified) {
      if (this.#known.get(digest) === damage) this.#known.delete(digest)
      return undefined
    }
    // Without a note it is known in memory only; the next scrub cycle finds it again.
    await this.#storage.put(keys.quarantineNote(digest), Buffer.from(JSON.stringify(damage))).catch(() => {})
    if (!this.#known.has(digest)) {
      // Healed while the note was written.
      await this.#clear(digest)
      return undefined
    }
    if (seen) {
      const moved = bytes === 'move' && (await this.#storage.move(keys.blob(digest), keys.quarantined(digest)).catch(() => false))
      damage.kept = moved ? 'quarantine' : 'in place'
      // Removes the prefix that became empty: there is no object of that key.
      if (moved) await this.#storage.remove([`${keys.blob(digest)}/moved`], keys.blobs).catch(() => {})
    } else if (before?.kept === 'quarantine') damage.kept = 'quarantine'
    return damage
  }

  /** Call when verified bytes of `digest` were published: it is no longer known-bad. */
  async healed(digest: Digest): Promise<void> {
    const damage = this.#known.get(digest)
    if (!damage) return
    await this.forget(digest)
    for (const onHealed of this.#watchers) onHealed(damage)
  }

  /** Call when `digest` is no longer referenced. */
  async forget(digest: Digest): Promise<void> {
    this.#known.delete(digest)
    // What could not be removed is found by the next `load`.
    await this.#clear(digest).catch(() => {})
  }

  /** Removes quarantined bytes that were found before `before` (ms since the epoch); the digests stay known-bad. */
  async expire(before: number): Promise<number> {
    const old = this.list().filter(({ kept, since }) => kept === 'quarantine' && since < before)
    for (const damage of old) {
      await this.#storage.remove([keys.quarantined(damage.digest)])
      damage.kept = 'nowhere'
    }
    return old.length
  }

  async #clear(digest: Digest): Promise<void> {
    await this.#storage.remove([keys.quarantined(digest), keys.quarantineNote(digest)], keys.quarantine)
  }
}

function parse(text: string | undefined): Pick<KnownDamage, 'reason' | 'since' | 'size'> | undefined {
  try {
    const value = JSON.parse(text ?? '') as KnownDamage
    return typeof value.reason === 'string' && typeof value.since === 'number' && typeof value.size === 'number' ? value : undefined
  } catch {
    return undefined
  }
}
