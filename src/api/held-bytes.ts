import { OciError } from '../oci/errors.ts'

/** Bounds on what bodies keep in memory together. */
export interface HeldBytesLimits {
  bytes: number
  /** Bodies at once. */
  holds: number
}

/** What one body keeps in memory. */
export interface Hold {
  /** Called when the body has to give way; it counts no longer then. A body without this keeps its bytes. */
  giveWay: (() => void) | undefined
  /** Counts `bytes` more; throws TOOMANYREQUESTS if they do not fit. */
  grow(bytes: number): void
  /** Counts the body no longer. */
  end(): void
}

interface Held extends Hold {
  bytes: number
  readonly sinceMs: number
  readonly shared: object | undefined
}

// A body that comes and goes as fast as a network allows is not the one that keeps memory from the others.
const minAgeMs = 1_000
// Counts for each body, so that one without bytes gives way as well.
const baseBytes = 4096

/**
 * Bounds the bytes of all bodies in memory together. A client that is slow may keep its body in memory for hours, so
 * when there is no room the body gives way that has kept the most for the longest; if none is old, the new one is
 * refused.
 */
export class HeldBytes {
  readonly #limits: HeldBytesLimits
  readonly #now: () => number
  readonly #holds = new Set<Held>()
  readonly #shares = new Map<object, number>()
  #bytes = 0

  constructor(limits: HeldBytesLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
  }

  /** Bytes that all bodies keep. */
  get bytes(): number {
    return this.#bytes
  }

  /** Counts a body; throws TOOMANYREQUESTS if there are too many. Bodies of the same `shared` keep its bytes once. */
  hold(shared?: object): Hold {
    this.#makeRoom(() => this.#holds.size < this.#limits.holds)
    const held: Held = {
      bytes: 0,
      sinceMs: this.#now(),
      shared,
      giveWay: undefined,
      grow: bytes => this.#grow(held, bytes),
      end: () => this.#end(held)
    }
    this.#holds.add(held)
    if (shared) this.#shares.set(shared, (this.#shares.get(shared) ?? 0) + 1)
    return held
  }

  #grow(held: Held, bytes: number): void {
    held.bytes += bytes
    if (held.shared && (this.#shares.get(held.shared) ?? 0) > 1) return
    this.#bytes += bytes
    this.#makeRoom(() => this.#bytes <= this.#limits.bytes, held)
  }

  #makeRoom(fits: () => boolean, growing?: Held): void {
    while (!fits()) {
      const most = this.#keepsMost(growing)
      if (!most) throw tooMany()
      const { giveWay } = most
      this.#end(most)
      giveWay?.()
    }
  }

  #keepsMost(growing: Held | undefined): Held | undefined {
    const now = this.#now()
    let most: Held | undefined
    let score = 0
    for (const each of this.#holds) {
      const ageMs = now - each.sinceMs
      const own = (each.bytes + baseBytes) * ageMs
      if (each === growing || !each.giveWay || ageMs < minAgeMs || own <= score) continue
      most = each
      score = own
    }
    return most
  }

  #end(held: Held): void {
    if (!this.#holds.delete(held)) return
    held.giveWay = undefined
    if (held.shared) {
      const others = (this.#shares.get(held.shared) ?? 1) - 1
      if (others > 0) return void this.#shares.set(held.shared, others)
      this.#shares.delete(held.shared)
    }
    this.#bytes -= held.bytes
  }
}

/** The answer to a body for which there is no room. */
export function tooMany(): OciError {
  const detail = { reason: 'too many bodies are being received or sent' }
  return new OciError('TOOMANYREQUESTS', { detail, headers: { 'retry-after': '1' } })
}
