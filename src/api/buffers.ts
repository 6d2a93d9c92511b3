const kib = 1024
const sizes = [64 * kib, 128 * kib, 256 * kib, 512 * kib, 1024 * kib] as const
/** What a transfer gets when the pool is dry. */
const privateSize = 16 * kib

/** Buffers for bodies that are sent, bounded in sum, so that many clients at once cost no more than a fixed amount of memory. */
export class Buffers {
  readonly #total: number
  readonly #free = new Map<number, Buffer[]>(sizes.map(size => [size, []]))
  #allocated = 0
  #parked = 0
  #transfers = 0
  #running = 0

  /** At most `total` bytes are held by transfers that move, and as many again by those that rest. */
  constructor(total: number) {
    this.#total = total
  }

  /** A transfer begins; the share of each shrinks. */
  enter(): void {
    this.#transfers++
    this.#running++
  }

  /** A transfer ended. */
  leave(): void {
    this.#transfers--
    this.#running--
    if (this.#transfers === 0) this.#trim()
  }

  /**
   * A transfer that holds `bytes` does not move: it gets no share any more, and others get what it holds as long as there is room for that. Gives what is to be
   * told to `wake`.
   */
  rest(bytes: number): number {
    this.#running--
    if (this.#parked + bytes > this.#total) return 0
    this.#parked += bytes
    this.#allocated -= bytes
    return bytes
  }

  /** It moves again. */
  wake(parked: number): void {
    this.#running++
    this.#parked -= parked
    this.#allocated += parked
  }

  /** How much of `wanted` bytes one transfer may have on its way, with so many others. */
  share(wanted: number): number {
    return Math.min(wanted, Math.max(sizes[0], this.#total / 2 / Math.max(1, this.#running)))
  }

  /** A buffer of about `wanted` bytes, less if many share the pool. */
  take(wanted: number): Buffer {
    const share = this.#total / 2 / Math.max(1, this.#running)
    for (const size of sizes.toReversed()) {
      if (size > Math.max(wanted, sizes[0]) || size > share) continue
      const buffer = this.#free.get(size)?.pop() ?? this.#allocate(size)
      if (buffer) return buffer
    }
    return Buffer.allocUnsafeSlow(privateSize)
  }

  /** Whether a buffer counts among the bytes that are bounded. */
  owns(buffer: Buffer): boolean {
    return buffer.length >= sizes[0]
  }

  /** Gives a buffer back; nobody may use it any more. */
  give(buffer: Buffer): void {
    this.#free.get(buffer.length)?.push(buffer)
  }

  /** A buffer that the kernel may still read is lost to the pool. */
  drop(buffer: Buffer): void {
    if (this.owns(buffer)) this.#allocated -= buffer.length
  }

  #allocate(size: number): Buffer | undefined {
    if (this.#allocated + size > this.#total) this.#trim()
    if (this.#allocated + size > this.#total) return undefined
    this.#allocated += size
    return Buffer.allocUnsafeSlow(size)
  }

  // At rest the memory belongs to the node's other processes.
  #trim(): void {
    for (const [size, buffers] of this.#free) {
      this.#allocated -= size * buffers.length
      buffers.length = 0
    }
  }
}
