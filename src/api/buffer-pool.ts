const kib = 1024
const sizes = [64 * kib, 128 * kib, 256 * kib, 512 * kib, 1024 * kib] as const
/** What a transfer gets when the pool is dry. */
const privateSize = 16 * kib

/** Buffers for bodies that are sent, bounded in sum, so that many clients at once cost no more than a fixed amount of memory. */
export class BufferPool {
  readonly #limitBytes: number
  readonly #free = new Map<number, Buffer[]>(sizes.map(size => [size, []]))
  #allocatedBytes = 0
  #parkedBytes = 0
  #transfers = 0
  #active = 0

  /** At most `total` bytes are held by transfers that move, and as many again by those that rest. */
  constructor(total: number) {
    this.#limitBytes = total
  }

  /** A transfer begins; the share of each shrinks. */
  enter(): void {
    this.#transfers++
    this.#active++
  }

  /** A transfer ended. */
  leave(): void {
    this.#transfers--
    this.#active--
    if (this.#transfers === 0) this.#trim()
  }

  /**
   * A transfer that holds `bytes` does not move: it gets no share any more, and others get what it holds as long as there is room for that. Gives what is to be
   * told to `wake`.
   */
  park(bytes: number): number {
    this.#active--
    if (this.#parkedBytes + bytes > this.#limitBytes) return 0
    this.#parkedBytes += bytes
    this.#allocatedBytes -= bytes
    return bytes
  }

  /** It moves again. */
  unpark(parked: number): void {
    this.#active++
    this.#parkedBytes -= parked
    this.#allocatedBytes += parked
  }

  /** How much of `wanted` bytes one transfer may have on its way, with so many others. */
  shareBytes(wanted: number): number {
    return Math.min(wanted, Math.max(sizes[0], this.#limitBytes / 2 / Math.max(1, this.#active)))
  }

  /** A buffer of about `wanted` bytes, less if many share the pool. */
  take(wanted: number): Buffer {
    const share = this.#limitBytes / 2 / Math.max(1, this.#active)
    for (const size of sizes.toReversed()) {
      if (size > Math.max(wanted, sizes[0]) || size > share) continue
      const buffer = this.#free.get(size)?.pop() ?? this.#allocate(size)
      if (buffer) return buffer
    }
    return Buffer.allocUnsafeSlow(privateSize)
  }

  /** Whether a buffer counts among the bytes that are bounded. */
  isPooled(buffer: Buffer): boolean {
    return buffer.length >= sizes[0]
  }

  /** Gives a buffer back; nobody may use it any more. */
  release(buffer: Buffer): void {
    this.#free.get(buffer.length)?.push(buffer)
  }

  /** A buffer that the kernel may still read is lost to the pool. */
  discard(buffer: Buffer): void {
    if (this.isPooled(buffer)) this.#allocatedBytes -= buffer.length
  }

  #allocate(size: number): Buffer | undefined {
    if (this.#allocatedBytes + size > this.#limitBytes) this.#trim()
    if (this.#allocatedBytes + size > this.#limitBytes) return undefined
    this.#allocatedBytes += size
    return Buffer.allocUnsafeSlow(size)
  }

  // At rest the memory belongs to the node's other processes.
  #trim(): void {
    for (const [size, buffers] of this.#free) {
      this.#allocatedBytes -= size * buffers.length
      buffers.length = 0
    }
  }
}
