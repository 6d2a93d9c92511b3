import { type CapacityDemand, type FillCapacity, noCapacity, type UpstreamNeed } from './capacity.ts'

/** A fill that capacity is made for. */
interface ReservingFill {
  /** Bytes that are written. */
  readonly offset: number
}

/** What was promised to a running fill; positions are bytes from its beginning. */
interface Reservation {
  readonly upstream: string
  readonly fill: ReservingFill
  readonly declared: boolean
  /** All of it; of an undeclared size twice what it may write for now. */
  size: number
  /** Capacity was made for what is before this. */
  secured: number
}

// Capacity is made for so much at once: what an upstream declares evicts nothing, only what it sends.
const stepBytes = 64 * 1024 * 1024

/**
 * The capacity that was promised to fills. One is admitted if all of it can be made to fit beside those that were
 * admitted before, and capacity is made as it grows. One of undeclared size has to fit twice, so that a body without
 * an end takes half of what there is at most.
 */
export class FillReservations {
  readonly #capacity: FillCapacity
  readonly #maxRunningBytes: () => number
  readonly #all = new Map<ReservingFill, Reservation>()

  /** `maxRunningBytes`: what fills of one upstream may have together while they run. */
  constructor(capacity: FillCapacity, maxRunningBytes: () => number = () => Number.POSITIVE_INFINITY) {
    this.#capacity = capacity
    this.#maxRunningBytes = maxRunningBytes
  }

  /** Resolves when the fill is admitted, which counts until it is released; rejects with `EDQUOT`. */
  async admit(fill: ReservingFill, upstream: string, size: number | undefined): Promise<void> {
    const declared = size !== undefined
    const reservation: Reservation = { upstream, fill, declared, size: size ?? 0, secured: 0 }
    this.#all.set(fill, reservation)
    // It counts for those that come later, and the earlier ones for it: of two that fit only alone one is admitted.
    if (declared) await this.#check(reservation, 'earlier')
  }

  /** Resolves when the bytes before `end` fit; undefined if they do now. Rejects with `EDQUOT`. */
  secure(fill: ReservingFill, end: number): Promise<void> | undefined {
    const reservation = this.#all.get(fill)
    return reservation && end > reservation.secured ? this.#secure(reservation, end) : undefined
  }

  async #secure(reservation: Reservation, end: number): Promise<void> {
    if (reservation.declared) reservation.secured = Math.max(end, Math.min(reservation.size, end + stepBytes))
    else {
      // Little is promised at the beginning, since most bodies are small.
      reservation.secured = end + Math.min(end, stepBytes)
      reservation.size = 2 * reservation.secured
      await this.#check(reservation, 'all')
    }
    await this.#capacity.secure(() => this.#demandOf(reservation, 'all'))
  }

  async #check(reservation: Reservation, beside: 'earlier' | 'all'): Promise<void> {
    const { own } = this.#demandOf(reservation, beside)
    const [running, most] = [own.written + own.remaining, this.#maxRunningBytes()]
    if (running > most) throw noCapacity(`${running} bytes would be downloaded at once, and an upstream may have ${Math.floor(most)}`)
    await this.#capacity.check(() => this.#demandOf(reservation, beside))
  }

  /** The fill has ended, and its bytes are stored or are going. */
  release(fill: ReservingFill, end: 'stored' | 'failed'): void {
    const reservation = this.#all.get(fill)
    if (reservation && end === 'stored') this.#capacity.added(reservation.upstream, fill.offset)
    this.#all.delete(fill)
  }

  #demandOf(reservation: Reservation, beside: 'earlier' | 'all'): CapacityDemand {
    const needs = new Map<string, UpstreamNeed>()
    for (const each of this.#all.values()) {
      const { upstream, fill, size, secured } = each
      const { offset } = fill
      const sum = needs.get(upstream)
      needs.set(upstream, {
        upstream,
        written: (sum?.written ?? 0) + offset,
        remaining: (sum?.remaining ?? 0) + Math.max(0, size - offset),
        secured: (sum?.secured ?? 0) + Math.max(0, secured - offset)
      })
      if (each === reservation && beside === 'earlier') break
    }
    const { upstream } = reservation
    const own = needs.get(upstream) ?? { upstream, written: 0, remaining: 0, secured: 0 }
    needs.delete(upstream)
    return { own, others: [...needs.values()] }
  }
}
