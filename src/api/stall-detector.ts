/** The minimum progress: at least `bytes` per `perMs`. */
export interface MinimumRate {
  bytes: number
  perMs: number
}

/** Reports the progress of one body to the detector. */
export interface TransferWatch {
  /** Adds bytes received or sent. */
  progressed(bytes: number): void
  /** Stops the clock until `resume`: the transfer waits for the registry, not for the client. */
  pause(): void
  resume(): void
  /** Ends the watch. */
  end(): void
}

interface WatchedTransfer {
  bytes: number
  periodStart: number
  pausedAt: number | undefined
  periodMs: number
  stalled: () => void
}

// The kernel buffers what is sent, and reports free space only when about a third of its buffer, up to some MiB, is
// free: a slow but steady reader looks like one with long pauses.
const sendingPeriods = 4

/** Detects bodies below the minimum rate. Only progress counts, never the total time of a body. */
export class StallDetector {
  readonly #minimumRate: MinimumRate
  readonly #now: () => number
  readonly #transfers = new Set<WatchedTransfer>()
  readonly #timer: NodeJS.Timeout

  constructor(rate: MinimumRate, now: () => number = Date.now) {
    this.#minimumRate = rate
    this.#now = now
    this.#timer = setInterval(() => this.check(), Math.max(50, rate.perMs / 4))
    this.#timer.unref()
  }

  /** Watches a body that a client sends. Calls `stalled` once if it is too slow. */
  receiving(stalled: () => void): TransferWatch {
    return this.#watch(this.#minimumRate.perMs, stalled)
  }

  /** Watches a body that is sent to a client. Calls `stalled` once if it is too slow. */
  sending(stalled: () => void): TransferWatch {
    return this.#watch(this.#minimumRate.perMs * sendingPeriods, stalled)
  }

  #watch(periodMs: number, stalled: () => void): TransferWatch {
    const transfer: WatchedTransfer = { bytes: 0, periodStart: this.#now(), pausedAt: undefined, periodMs, stalled }
    this.#transfers.add(transfer)
    return {
      progressed: bytes => {
        transfer.bytes += bytes
      },
      pause: () => {
        transfer.pausedAt ??= this.#now()
      },
      resume: () => {
        if (transfer.pausedAt === undefined) return
        transfer.periodStart += this.#now() - transfer.pausedAt
        transfer.pausedAt = undefined
      },
      end: () => void this.#transfers.delete(transfer)
    }
  }

  /** Checks all transfers; called by the timer. */
  check(): void {
    const now = this.#now()
    for (const transfer of this.#transfers) {
      if (transfer.pausedAt !== undefined || now - transfer.periodStart < transfer.periodMs) continue
      if (transfer.bytes < this.#minimumRate.bytes) {
        this.#transfers.delete(transfer)
        transfer.stalled()
      }
      transfer.bytes = 0
      transfer.periodStart = now
    }
  }

  /** The number of transfers being watched. */
  get transfers(): number {
    return this.#transfers.size
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
