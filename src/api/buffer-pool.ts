const kib = 1024
const sizes = [64 * kib, 128 * kib, 256 * kib, 512 * kib, 1024 * kib] as const
// Of a buffer outside of the pool, for a transfer that finds the pool empty.
const privateBytes = 16 * kib

/** Buffers for the bodies being sent. Their sum is bounded, so that memory does not grow with the number of clients. */
export class BufferPool {
  readonly #limitBytes: number
  readonly #free = new Map<number, Buffer[]>(sizes.map(size => [size, []]))
  #allocatedBytes = 0
  #parkedBytes = 0
  #transfers = 0
  #active = 0

  /** Active transfers hold at most `limitBytes`, parked ones as much again. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Registers a transfer; the share of each gets smaller. */
  enter(): void {
    this.#transfers++
    this.#active++
  }

  /** Unregisters a transfer. */
  leave(): void {
    this.#transfers--
    this.#active--
    if (this.#transfers === 0) this.#trim()
  }

  /**
   * Parks a transfer that holds `bytes` and does not progress: it has no share, and others may allocate what it holds,
   * up to the bound on parked bytes. Returns the argument for `unpark`.
   */
  park(bytes: number): number {
    this.#active--
    if (this.#parkedBytes + bytes > this.#limitBytes) return 0
    this.#parkedBytes += bytes
    this.#allocatedBytes -= bytes
    return bytes
  }

  /** Makes a parked transfer active again. */
  unpark(parkedBytes: number): void {
    this.#active++
    this.#parkedBytes -= parkedBytes
    this.#allocatedBytes += parkedBytes
  }

  /** The part of `wantedBytes` that one transfer may have in flight, given the number of active ones. */
  shareBytes(wantedBytes: number): number {
    return Math.min(wantedBytes, Math.max(sizes[0], this.#limitBytes / 2 / Math.max(1, this.#active)))
  }

  /** A buffer of about `wantedBytes`, smaller if many transfers are active. */
  take(wantedBytes: number): Buffer {
    const share = this.#limitBytes / 2 / Math.max(1, this.#active)
    for (const size of sizes.toReversed()) {
      if (size > Math.max(wantedBytes, sizes[0]) || size > share) continue
      const buffer = this.#free.get(size)?.pop() ?? this.#allocate(size)
      if (buffer) return buffer
    }
    return Buffer.allocUnsafeSlow(privateBytes)
  }

  /** Whether the buffer belongs to the pool, and counts towards its limit. */
  isPooled(buffer: Buffer): boolean {
    return buffer.length >= sizes[0]
  }

  /** Returns a buffer to the pool; the caller must not use it again. */
  release(buffer: Buffer): void {
    this.#free.get(buffer.length)?.push(buffer)
  }

  /** Removes a buffer that the kernel may still use from the pool. */
  discard(buffer: Buffer): void {
    if (this.isPooled(buffer)) this.#allocatedBytes -= buffer.length
  }

  #allocate(size: number): Buffer | undefined {
    if (this.#allocatedBytes + size > this.#limitBytes) this.#trim()
    if (this.#allocatedBytes + size > this.#limitBytes) return undefined
    this.#allocatedBytes += size
    return Buffer.allocUnsafeSlow(size)
  }

  // An idle registry leaves the memory to the other processes of the node.
  #trim(): void {
    for (const [size, buffers] of this.#free) {
      this.#allocatedBytes -= size * buffers.length
      buffers.length = 0
    }
  }
}
