/**
 * The disk does not answer, now or in time. With `underway` the call was made and may still take effect: memory that
 * was lent to it must never be used again.
 */
export class StalledError extends Error {
  readonly code = 'ESTALLED'
  readonly underway: boolean

  constructor(state: 'refused' | 'underway') {
    super("the registry's disk does not answer")
    this.underway = state === 'underway'
  }
}

/**
 * In ticks of the pool: when a silent call is suspected, when the pool counts as stalled, and how long a caller waits.
 */
export interface StallThresholds {
  suspectTicks: number
  stalledTicks: number
  callerTicks: number
}

interface CallOptions<T> {
  task: () => Promise<T>
  onLate: ((value: T) => unknown) | undefined
  resolve: (value: T) => void
  reject: (error: unknown) => void
}

class Call<T> {
  /** The tick since which the caller waits. */
  readonly since: number
  readonly task: () => Promise<T>
  readonly reject: (error: unknown) => void
  readonly #resolve: (value: T) => void
  readonly #onLate: ((value: T) => unknown) | undefined
  /** The tick at which the kernel got the call. */
  began: number
  state: 'waiting' | 'underway' | 'abandoned' = 'waiting'
  /** It hangs although the disk works: one bad file does not stall the disk. */
  isolated = false

  constructor(since: number, { task, onLate, resolve, reject }: CallOptions<T>) {
    this.since = since
    this.began = since
    this.task = task
    this.reject = reject
    this.#resolve = resolve
    this.#onLate = onLate
  }

  returned(value: T): void {
    if (this.state === 'underway') this.#resolve(value)
    else this.#onLate?.(value)
  }
}

// A call without the type of its value.
type AnyCall = Pick<Call<never>, 'since' | 'began' | 'state' | 'isolated' | 'reject'>

/**
 * An I/O pool: a bounded number of system calls of one kind is with the kernel, the others wait in order. A circuit
 * breaker refuses calls while nothing returns. Its owner calls `tick` from time to time in place of a timer per call.
 * Ticks are counted, not the clock, so that a process that was suspended does not blame the disk for its own sleep.
 */
export class IoPool {
  readonly #thresholds: StallThresholds
  readonly #onBusy: () => void
  // Not a set: an old set that always changes costs the JavaScript collector more than all the rest here.
  readonly #slots: (AnyCall | undefined)[]
  #running = 0
  #waiting: { call: AnyCall; start: () => void }[] = []
  #deferred: (() => Promise<unknown>)[] = []
  #ticks = 0
  #lastReturn = 0
  #stalled = false

  /** `onBusy` is called when ticks are needed. */
  constructor(slots: number, thresholds: StallThresholds, onBusy: () => void) {
    this.#slots = new Array(slots).fill(undefined)
    this.#thresholds = thresholds
    this.#onBusy = onBusy
  }

  /** The circuit is open: nothing returns, and calls are refused. */
  get stalled(): boolean {
    return this.#stalled
  }

  /** No ticks are needed. */
  get idle(): boolean {
    return this.#running === 0 && !this.#stalled
  }

  /** Calls that have not returned, including those whose callers were rejected. */
  get running(): number {
    return this.#running
  }

  /** Whether a call could begin at once. */
  get hasFreeSlot(): boolean {
    return this.#running < this.#slots.length
  }

  /**
   * Runs `task`, which makes one system call after another and none through a pool. Rejects with a StalledError if it
   * cannot begin or does not end in time; its value then goes to `onLate`.
   */
  run<T>(task: () => Promise<T>, onLate?: (value: T) => unknown): Promise<T> {
    if (this.#stalled) return Promise.reject(new StalledError('refused'))
    return new Promise<T>((resolve, reject) => {
      const call = new Call(this.#ticks, { task, onLate, resolve, reject })
      if (this.hasFreeSlot) this.#start(call)
      else this.#waiting.push({ call, start: () => this.#start(call) })
      this.#onBusy()
    })
  }

  /** Runs `task`, whose end the caller does not need: while the pool is stalled it is deferred. */
  async finish(task: () => Promise<unknown>): Promise<void> {
    try {
      if (this.#stalled) this.#deferred.push(task)
      else await this.run(task)
    } catch (error) {
      if (!(error instanceof StalledError)) throw error
      if (!error.underway) this.#deferred.push(task)
    }
  }

  #start<T>(call: Call<T>): void {
    call.state = 'underway'
    call.began = this.#ticks
    this.#slots[this.#slots.indexOf(undefined)] = call
    this.#running++
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
    this.#slots[this.#slots.indexOf(call)] = undefined
    this.#running--
    this.#lastReturn = this.#ticks
    if (this.#stalled) this.#closeCircuit()
    this.#waiting.shift()?.start()
  }

  /** Rejects callers that have waited too long. `suspect`: a call hangs, and it is unknown whether the disk does. */
  tick(): 'healthy' | 'suspect' | 'stalled' {
    this.#ticks++
    for (const call of this.#allCalls()) if (this.#ticks - call.since >= this.#thresholds.callerTicks) this.#abandon(call)
    this.#waiting = this.#waiting.filter(({ call }) => call.state === 'waiting')
    if (this.#stalled) return 'stalled'
    return this.#silentTicks() >= this.#thresholds.suspectTicks ? 'suspect' : 'healthy'
  }

  #allCalls(): AnyCall[] {
    return [...this.#slots.filter(call => call !== undefined), ...this.#waiting.map(({ call }) => call)]
  }

  // For how many ticks nothing has returned although a call should have.
  #silentTicks(): number {
    let longest = 0
    // When isolated calls have all the slots, the waiting calls are what should go on.
    const full = !this.hasFreeSlot && this.#waiting.length > 0
    for (const call of this.#slots) if (call && (full || !call.isolated)) longest = Math.max(longest, this.#ticks - call.began)
    return Math.min(longest, this.#ticks - this.#lastReturn)
  }

  /** Opens the circuit if the pool was silent for long enough. For when a probe hangs too, or has no slot to run in. */
  tryOpenCircuit(): boolean {
    if (this.#stalled || this.#silentTicks() < this.#thresholds.stalledTicks) return false
    this.#stalled = true
    for (const call of this.#allCalls()) this.#abandon(call)
    this.#waiting = []
    return true
  }

  /** A probe returned: the disk works, so calls that hang are isolated. */
  reportAlive(): void {
    if (!this.hasFreeSlot) return
    for (const call of this.#slots) if (call && this.#ticks - call.began >= this.#thresholds.suspectTicks) call.isolated = true
    if (this.#stalled) this.#closeCircuit()
  }

  #closeCircuit(): void {
    this.#stalled = false
    const deferred = this.#deferred
    this.#deferred = []
    for (const task of deferred) void this.finish(task).catch(() => {})
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
