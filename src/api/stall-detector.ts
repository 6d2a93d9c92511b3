/** What counts as progress: at least `bytes` in `per` ms. */
export interface MinimumRate {
  bytes: number
  perMs: number
}

/** One body on its way. */
export interface TransferWatch {
  /** So many bytes more have moved. */
  progressed(bytes: number): void
  /** From here to `go` it does not wait for the client but for us, and that time does not count. */
  pause(): void
  resume(): void
  /** It is over. */
  end(): void
}

interface Transfer {
  moved: number
  since: number
  held: number | undefined
  per: number
  stalled: () => void
}

// The kernel buffers what is sent and tells of room only when about a third of its buffer, up to some MiB, is free: a slow but steady reader shows as long pauses.
const pausesOfSenders = 4

/** Ends bodies that make no progress. It measures progress, never the time that a body takes in all. */
export class StallDetector {
  readonly #minimumRate: MinimumRate
  readonly #now: () => number
  readonly #transfers = new Set<Transfer>()
  readonly #timer: NodeJS.Timeout

  constructor(rate: MinimumRate, now: () => number = Date.now) {
    this.#minimumRate = rate
    this.#now = now
    this.#timer = setInterval(() => this.check(), Math.max(50, rate.perMs / 4))
    this.#timer.unref()
  }

  /** A body that a client sends to us. `stalled` is called once if it is too slow. */
  receiving(stalled: () => void): TransferWatch {
    return this.#watch(this.#minimumRate.perMs, stalled)
  }

  /** A body that we send to a client. */
  sending(stalled: () => void): TransferWatch {
    return this.#watch(this.#minimumRate.perMs * pausesOfSenders, stalled)
  }

  #watch(per: number, stalled: () => void): TransferWatch {
    const transfer: Transfer = { moved: 0, since: this.#now(), held: undefined, per, stalled }
    this.#transfers.add(transfer)
    return {
      progressed: bytes => {
        transfer.moved += bytes
      },
      pause: () => {
        transfer.held ??= this.#now()
      },
      resume: () => {
        if (transfer.held === undefined) return
        transfer.since += this.#now() - transfer.held
        transfer.held = undefined
      },
      end: () => void this.#transfers.delete(transfer)
    }
  }

  /** Looks at all transfers; called by the timer. */
  check(): void {
    const now = this.#now()
    for (const transfer of this.#transfers) {
      if (transfer.held !== undefined || now - transfer.since < transfer.per) continue
      if (transfer.moved < this.#minimumRate.bytes) {
        this.#transfers.delete(transfer)
        transfer.stalled()
      }
      transfer.moved = 0
      transfer.since = now
    }
  }

  /** How many bodies are on their way. */
  get transfers(): number {
    return this.#transfers.size
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
