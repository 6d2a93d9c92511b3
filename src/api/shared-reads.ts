import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Body } from '../oci/source.ts'
import type { BufferPool } from './buffer-pool.ts'
import { type ChunkLease, SharedChunk } from './shared-chunk.ts'

// Of one body, for those who come behind.
const mostKept = 4 * 1024 * 1024
// Who is ahead lets those who are less than so far behind, and have moved within so many ms, go first: together they need one read. It waits for some turns of the event
// loop, which are long only while the others have something to send; in a turn each of them sends a piece, and it waits for about so many. With 64 clients, of whom there
// are always some near each other, waiting longer took a tenth of the speed.
const reach = 128 * 1024 * 1024
const brisk = 10
const patience = 16

/** How much is read: about `size` bytes into a buffer, never more than `most`. */
export interface ReadOptions {
  bufferBytes: number
  maxBytes: number
  /** No larger buffers are shared with others: a client that rests would keep them. */
  maxSharedBufferBytes: number
}

/** What one transfer reads of a body. */
export interface BodyReader {
  /** Bytes at `position`; none is the end. Rejects as the body does. */
  read(position: number, amount: ReadOptions): Promise<ChunkLease>
  /** It reads no more. What was lent stays until it is given back. */
  end(): void
}

/** Reads bodies into pooled buffers. Who reads the same at about the same time shares one read and one buffer: a whole cluster pulls an image at once. */
export class SharedReads {
  readonly buffers: BufferPool
  readonly #now: () => number
  readonly #groups = new Map<string | object, ReaderGroup>()

  constructor(buffers: BufferPool, now: () => number = () => performance.now()) {
    this.buffers = buffers
    this.#now = now
  }

  /** Whoever asks ends the reader, and closes the body. */
  open(body: Body): BodyReader {
    const { identity } = body
    if (identity === undefined) return { read: (position, amount) => this.#readChunk(body, position, amount), end: () => {} }
    const crowd = this.#groups.get(identity) ?? new ReaderGroup()
    this.#groups.set(identity, crowd)
    const place = crowd.enter()
    return {
      read: async (position, amount) => {
        // Each for itself: it must not have to wait for another's client, nor for that one's fault.
        const ready = body.ready?.(position)
        if (ready) await ready
        place.move(position, this.#now())
        return this.#readShared(body, place, amount, crowd)
      },
      end: () => {
        crowd.leave(place)
        if (crowd.size === 0) this.#groups.delete(identity)
      }
    }
  }

  async #readShared(body: Body, place: ReaderPosition, amount: ReadOptions, crowd: ReaderGroup): Promise<ChunkLease> {
    const { position } = place
    for (let turns = 0; crowd.size > 1 && body.identity !== undefined; ) {
      const block = crowd.find(position, amount.maxSharedBufferBytes)
      if (!block) {
        if (turns >= Math.floor(patience / crowd.size) || !crowd.hasFollower(place, this.#now()))
          return this.#readChunk(body, position, amount, crowd)
        turns++
        await nextTurn()
        continue
      }
      block.retain()
      if (block.loading) await block.loading
      if (block.valid && position < block.end) {
        // A write over TLS holds as much again in memory.
        return block.lease(position, Math.min(amount.maxBytes, this.buffers.shareBytes(amount.bufferBytes)))
      }
      block.release()
      if (block.valid) return this.#readChunk(body, position, amount, crowd)
      // Found again and again otherwise: nothing else has a turn in this loop.
      crowd.remove(block)
    }
    return this.#readChunk(body, position, amount)
  }

  async #readChunk(
    body: Body,
    position: number,
    { bufferBytes: size, maxBytes: most }: ReadOptions,
    crowd?: ReaderGroup
  ): Promise<ChunkLease> {
    const block = new SharedChunk(this.buffers, this.#take(size), position)
    const reading = block.load(body, most)
    crowd?.add(block)
    try {
      await reading
      return block.lease(position, most)
    } catch (error) {
      block.release()
      throw error
    } finally {
      if (!block.valid) crowd?.remove(block)
    }
  }

  #take(size: number): Buffer {
    const buffer = this.buffers.take(size)
    if (this.buffers.isPooled(buffer)) return buffer
    for (const crowd of this.#groups.values()) crowd.clear()
    return this.buffers.take(size)
  }
}

/** Where a reader of a crowd is. */
class ReaderPosition {
  position = 0
  /** When it came there. */
  #since = 0

  move(position: number, now: number): void {
    this.position = position
    this.#since = now
  }

  /** Whether it is behind `other`, but could be with it soon. */
  canCatchUpWith(other: ReaderPosition, now: number): boolean {
    const behind = other.position - this.position
    return behind > mostKept / 2 && behind < reach && now - this.#since < brisk
  }
}

/** Those who read the same bytes, and what was read last. */
class ReaderGroup {
  readonly #positions = new Set<ReaderPosition>()
  #chunks: SharedChunk[] = []
  #bytes = 0

  get size(): number {
    return this.#positions.size
  }

  enter(): ReaderPosition {
    const place = new ReaderPosition()
    this.#positions.add(place)
    return place
  }

  leave(place: ReaderPosition): void {
    this.#positions.delete(place)
    if (this.#positions.size <= 1) this.clear()
  }

  /** Whether somebody is about to catch up with `place`. */
  hasFollower(place: ReaderPosition, now: number): boolean {
    for (const each of this.#positions) if (each.canCatchUpWith(place, now)) return true
    return false
  }

  /** The block that holds the byte at `position`, or is being read and should. */
  find(position: number, largest: number): SharedChunk | undefined {
    return this.#chunks.findLast(block => block.position <= position && position < block.end && block.bufferBytes <= largest)
  }

  add(block: SharedChunk): void {
    block.retain()
    this.#chunks.push(block)
    this.#bytes += block.bufferBytes
    while (this.#bytes > mostKept) this.#shift()
  }

  #shift(): void {
    const block = this.#chunks.shift()
    if (!block) return
    this.#bytes -= block.bufferBytes
    block.release()
  }

  remove(block: SharedChunk): void {
    const at = this.#chunks.indexOf(block)
    if (at < 0) return
    this.#chunks.splice(at, 1)
    this.#bytes -= block.bufferBytes
    block.release()
  }

  clear(): void {
    while (this.#chunks.length > 0) this.#shift()
  }
}
