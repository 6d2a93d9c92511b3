/**
 * The disk does not answer: not now, or not in time. `underway` tells that the call was made and may still take effect: memory that was lent to it must never be used
 * again.
 */
export class StalledError extends Error {
  readonly code = 'ESTALLED'
  readonly underway: boolean

  constructor(state: 'refused' | 'underway') {
    super("the registry's disk does not answer")
    this.underway = state === 'underway'
  }
}

/** In looks at the lane: after how many a call is suspected, the lane counts as stalled, and a caller waits no longer. */
export interface StallThresholds {
  suspectTicks: number
  stalledTicks: number
  callerTicks: number
}

// Who waits for a call, and where the call is.
class Call<T> {
  /** Since when its caller waits. */
  readonly since: number
  readonly task: () => Promise<T>
  readonly late: ((value: T) => unknown) | undefined
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
  /** Since when it is with the kernel. */
  began: number
  state: 'waiting' | 'underway' | 'abandoned' = 'waiting'
  /** It hangs, but the disk was seen to work: one bad file is not the disk. */
  lost = false

  constructor(
    since: number,
    task: () => Promise<T>,
    late: ((value: T) => unknown) | undefined,
    resolve: (value: T) => void,
    reject: (error: unknown) => void
  ) {
    this.since = since
    this.began = since
    this.task = task
    this.late = late
    this.resolve = resolve
    this.reject = reject
  }

  returned(value: T): void {
    if (this.state === 'underway') this.resolve(value)
    else this.late?.(value)
  }
}

// Which values they give is their callers' affair.
type AnyCall = Pick<Call<never>, 'since' | 'began' | 'state' | 'lost' | 'reject'>

/**
 * System calls of one kind: a bounded number is with the kernel, the others wait in order. There is no timer a call: somebody looks at all of them from time to time.
 * Looks are counted and not the clock, so that a process that was stopped for a while does not take its own sleep for the disk's.
 */
export class IoPool {
  readonly #patience: StallThresholds
  readonly #busy: () => void
  // Not a set: one that is old and always changes costs the collector of garbage more than all the rest here.
  readonly #running: (AnyCall | undefined)[]
  #count = 0
  #waiting: { call: AnyCall; start: () => void }[] = []
  #later: (() => Promise<unknown>)[] = []
  #looks = 0
  #returned = 0
  #stalled = false

  /** `busy` is called when there may be something to look at. */
  constructor(most: number, patience: StallThresholds, busy: () => void) {
    this.#running = new Array(most).fill(undefined)
    this.#patience = patience
    this.#busy = busy
  }

  /** Nothing comes back; calls are refused. */
  get stalled(): boolean {
    return this.#stalled
  }

  /** Nothing is to be looked at. */
  get idle(): boolean {
    return this.#count === 0 && !this.#stalled
  }

  /** Calls that have not returned, whether or not somebody still waits for them. */
  get running(): number {
    return this.#count
  }

  /** Whether a call could begin at once. */
  get hasFreeSlot(): boolean {
    return this.#count < this.#running.length
  }

  /**
   * Runs `task`, which makes one system call after another and none through a lane. Rejects with a StalledError if it cannot begin or does not end in time; what it gives
   * after that goes to `late`.
   */
  run<T>(task: () => Promise<T>, late?: (value: T) => unknown): Promise<T> {
    if (this.#stalled) return Promise.reject(new StalledError('refused'))
    return new Promise<T>((resolve, reject) => {
      const call = new Call(this.#looks, task, late, resolve, reject)
      if (this.hasFreeSlot) this.#start(call)
      else this.#waiting.push({ call, start: () => this.#start(call) })
      this.#busy()
    })
  }

  /** Runs `task`, for which nobody has to wait: if the lane is stalled, then later. */
  async finish(task: () => Promise<unknown>): Promise<void> {
    try {
      if (this.#stalled) this.#later.push(task)
      else await this.run(task)
    } catch (error) {
      if (!(error instanceof StalledError)) throw error
      if (!error.underway) this.#later.push(task)
    }
  }

  #start<T>(call: Call<T>): void {
    call.state = 'underway'
    call.began = this.#looks
    this.#running[this.#running.indexOf(undefined)] = call
    this.#count++
    started(call.task).then(
      value => {
        this.#end(call)
        call.returned(value)
      },
      error => {
        this.#end(call)
        call.reject(error)
      }
    )
  }

  #end(call: AnyCall): void {
    this.#running[this.#running.indexOf(call)] = undefined
    this.#count--
    this.#returned = this.#looks
    if (this.#stalled) this.#recover()
    this.#waiting.shift()?.start()
  }

  /** One look: callers that have waited too long are told; gives whether something hangs of which it is not known whether it is the disk. */
  tick(): 'fine' | 'suspect' | 'stalled' {
    this.#looks++
    for (const call of this.#all()) if (this.#looks - call.since >= this.#patience.callerTicks) this.#abandon(call)
    this.#waiting = this.#waiting.filter(({ call }) => call.state === 'waiting')
    if (this.#stalled) return 'stalled'
    return this.#silence() >= this.#patience.suspectTicks ? 'suspect' : 'fine'
  }

  #all(): AnyCall[] {
    return [...this.#running.filter(call => call !== undefined), ...this.#waiting.map(({ call }) => call)]
  }

  // For how many looks nothing has come back although something should have.
  #silence(): number {
    let longest = 0
    // With every place taken by what is lost, those who wait are what should go on.
    const full = !this.hasFreeSlot && this.#waiting.length > 0
    for (const call of this.#running) if (call && (full || !call.lost)) longest = Math.max(longest, this.#looks - call.began)
    return Math.min(longest, this.#looks - this.#returned)
  }

  /** The disk does not do what was tried elsewhere, or there is no place to try: the lane is given up if it has been silent for long enough. */
  tryOpenCircuit(): boolean {
    if (this.#stalled || this.#silence() < this.#patience.stalledTicks) return false
    this.#stalled = true
    for (const call of this.#all()) this.#abandon(call)
    this.#waiting = []
    return true
  }

  /** The disk was seen to work: what hangs is not its fault. */
  reportAlive(): void {
    if (!this.hasFreeSlot) return
    for (const call of this.#running) if (call && this.#looks - call.began >= this.#patience.suspectTicks) call.lost = true
    if (this.#stalled) this.#recover()
  }

  #recover(): void {
    this.#stalled = false
    const later = this.#later
    this.#later = []
    for (const task of later) void this.finish(task).catch(() => {})
  }

  #abandon(call: AnyCall): void {
    if (call.state === 'abandoned') return
    call.reject(new StalledError(call.state === 'underway' ? 'underway' : 'refused'))
    call.state = 'abandoned'
  }
}

// A task that throws has begun all the same.
function started<T>(task: () => Promise<T>): Promise<T> {
  try {
    return task()
  } catch (error) {
    return Promise.reject(error)
  }
}
