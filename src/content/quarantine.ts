import { type Clock, systemClock } from '../../storage/clock.ts'
import type { Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import type { Holds } from './holds.ts'
import * as keys from './keys.ts'
import type { Coordination } from './shared/coordination.ts'
import { LeaseHeldError } from './shared/removal-lease.ts'
import { listDigests } from './walk.ts'

/** Bytes that are known to be wrong or gone, until they are published anew. */
export interface KnownDamage {
  digest: Digest
  reason: string
  /** When it was found, in ms since the epoch. */
  since: number
  size: number
  /** Where the wrong bytes are: set aside, still where they were (the medium let nobody move them), or nowhere. */
  kept: 'quarantine' | 'in place' | 'nowhere'
}

/** What an object was when it was looked at. */
export interface ObservedObject {
  size: number
  modified: number
}

// Whoever holds the bytes usually lets go within a moment; a slow client may not.
const attempts = 5
const retryMs = 200
// Where nobody can say whether there are bytes, they are not called missing.
const unreadable: ObservedObject = { size: -1, modified: -1 }

interface QuarantineDeps {
  storage: Storage
  holds: Holds
  coordination: Coordination
  clock?: Clock
}

/**
 * What is damaged now. Its bytes are set aside for examination and answered as missing, so that the next push or fill heals it; a note beside them outlives them and a
 * restart. `load` it before the first request.
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

  /** Reads what a former process found; what was healed since is forgotten. */
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

  /** Whether the bytes of `digest` are known to be wrong or gone: they are not to be given to anybody. */
  has(digest: Digest): boolean {
    // Where another process may have healed them, only what could not be moved out of the way is worth knowing.
    return this.#coordination.othersWrite ? this.#known.get(digest)?.kept === 'in place' : this.#known.has(digest)
  }

  /** What is known of it. */
  find(digest: Digest): KnownDamage | undefined {
    return this.#known.get(digest)
  }

  /** All that is damaged now. */
  list(): KnownDamage[] {
    return [...this.#known.values()]
  }

  /** Of what was set aside. */
  get bytes(): number {
    return this.list().reduce((sum, { kept, size }) => sum + (kept === 'quarantine' ? size : 0), 0)
  }

  /** Tells `healed` of everything that is published anew; ends with the function that it gives. */
  watch(healed: (damage: KnownDamage) => void): () => void {
    this.#watchers.add(healed)
    return () => void this.#watchers.delete(healed)
  }

  /** Sets aside bytes that are not those of `digest`, unless they are no longer what was `seen`: then undefined. */
  async add(digest: Digest, seen: ObservedObject, reason: string): Promise<KnownDamage | undefined> {
    const release = await this.#coordination.acquireRemovalLease().catch((error: Error) => {
      if (error instanceof LeaseHeldError) return undefined
      throw error
    })
    // The next round finds it again.
    if (!release) return this.#condemn(digest, seen, reason, 'leave')
    try {
      return await this.#takeInTurn(digest, seen, reason)
    } finally {
      await release()
    }
  }

  async #takeInTurn(digest: Digest, seen: ObservedObject, reason: string): Promise<KnownDamage | undefined> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      let outcome: KnownDamage | 'changed' | undefined
      await this.#holds.remove(digest, async () => {
        const condemn = () => this.#condemn(digest, seen, reason, 'move')
        outcome = (await this.#coordination.announce([digest], condemn)) ?? 'changed'
        return outcome !== 'changed' && outcome.kept === 'quarantine'
      })
      if (outcome !== undefined) return outcome === 'changed' ? undefined : outcome
      await this.#clock.sleep(retryMs)
    }
    return this.#condemn(digest, seen, reason, 'leave')
  }

  /** Notes that `digest` has no bytes where it should have; undefined if it has. */
  addMissing(digest: Digest, reason: string): Promise<KnownDamage | undefined> {
    return this.#condemn(digest, undefined, reason, 'leave')
  }

  // Known before the look: bytes that are published after the look tell us so, those that were published before it are seen by it.
  async #condemn(
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
    // A medium that takes nothing any more is known in memory at least; the next round finds it again.
    await this.#storage.put(keys.quarantineNote(digest), Buffer.from(JSON.stringify(damage))).catch(() => {})
    if (!this.#known.has(digest)) {
      // Healed while the note was written.
      await this.#clear(digest)
      return undefined
    }
    if (seen) {
      const moved = bytes === 'move' && (await this.#storage.move(keys.blob(digest), keys.quarantined(digest)).catch(() => false))
      damage.kept = moved ? 'quarantine' : 'in place'
      // The prefix that became empty; nothing is taken that is called otherwise.
      if (moved) await this.#storage.remove([`${keys.blob(digest)}/moved`], keys.blobs).catch(() => {})
    } else if (before?.kept === 'quarantine') damage.kept = 'quarantine'
    return damage
  }

  /** The bytes of `digest` were verified and published: what was wrong with them is over. */
  async healed(digest: Digest): Promise<void> {
    const damage = this.#known.get(digest)
    if (!damage) return
    await this.forget(digest)
    for (const told of this.#watchers) told(damage)
  }

  /** Nobody needs `digest` any more. */
  async forget(digest: Digest): Promise<void> {
    this.#known.delete(digest)
    // What stays is found when the process starts again.
    await this.#clear(digest).catch(() => {})
  }

  /** Removes the wrong bytes of what was found before `before` (ms since the epoch); the damage stays known. */
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
