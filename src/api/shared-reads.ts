import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Body } from '../oci/source.ts'
import type { BufferPool } from './buffer-pool.ts'
import { type ChunkLease, SharedChunk } from './shared-chunk.ts'

// Of one body, for the readers behind.
const maxKeptBytes = 4 * 1024 * 1024
// A reader yields to one that is at most `catchUpBytes` behind and has moved within `catchUpMs`: together they need
// one read. It yields for some turns of the event loop. A turn is long only while others have something to send, and in
// each turn each of them sends a chunk. With 64 clients some are always close behind: yielding for longer cost a tenth
// of the throughput.
const catchUpBytes = 128 * 1024 * 1024
const catchUpMs = 10
const maxYieldTurns = 16

/** Bounds of one read. */
export interface ReadOptions {
  /** The size of the buffer to read into. */
  bufferBytes: number
  maxBytes: number
  /** Larger shared chunks are not leased: a client that reads slowly would keep them from the pool. */
  maxSharedBufferBytes: number
}

/** Reads one body for one transfer. */
export interface BodyReader {
  /** Leases the bytes at `position`; an empty chunk is the end of the body. Rejects as the body does. */
  read(position: number, options: ReadOptions): Promise<ChunkLease>
  /** Leaves the reader group. Leases stay valid until they are released. */
  end(): void
}

/**
 * Reads bodies into pooled buffers. Readers of the same bytes at about the same time form a reader group and share
 * reads and buffers, since all nodes of a cluster pull an image at once.
 */
export class SharedReads {
  readonly buffers: BufferPool
  readonly #now: () => number
  readonly #groups = new Map<string | object, ReaderGroup>()

  constructor(buffers: BufferPool, now: () => number = () => performance.now()) {
    this.buffers = buffers
    this.#now = now
  }

  /** Opens a reader. The caller ends the reader and closes the body. */
  open(body: Body): BodyReader {
    const { identity } = body
    if (identity === undefined) return { read: (position, options) => this.#readChunk(body, position, options), end: () => {} }
    const group = this.#groups.get(identity) ?? new ReaderGroup()
    this.#groups.set(identity, group)
    const reader = group.enter()
    return {
      read: async (position, options) => {
        // Each reader waits for its own source, so that it depends neither on another's client nor on its errors.
        const ready = body.ready?.(position)
        if (ready) await ready
        reader.move(position, this.#now())
        return this.#readShared(body, reader, options, group)
      },
      end: () => {
        group.leave(reader)
        if (group.size === 0) this.#groups.delete(identity)
      }
    }
  }

  async #readShared(body: Body, reader: ReaderPosition, options: ReadOptions, group: ReaderGroup): Promise<ChunkLease> {
    const { position } = reader
    for (let turns = 0; group.size > 1 && body.identity !== undefined; ) {
      const chunk = group.find(position, options.maxSharedBufferBytes)
      if (!chunk) {
        if (turns >= Math.floor(maxYieldTurns / group.size) || !group.hasFollower(reader, this.#now()))
          return this.#readChunk(body, position, options, group)
        turns++
        await nextTurn()
        continue
      }
      chunk.retain()
      if (chunk.loading) await chunk.loading
      if (chunk.valid && position < chunk.end) {
        // A write over TLS takes as much memory again.
        return chunk.lease(position, Math.min(options.maxBytes, this.buffers.shareBytes(options.bufferBytes)))
      }
      chunk.release()
      if (chunk.valid) return this.#readChunk(body, position, options, group)
      // Else `find` would return it for ever: no other task runs between two turns of this loop.
      group.remove(chunk)
    }
    return this.#readChunk(body, position, options)
  }

  async #readChunk(body: Body, position: number, options: ReadOptions, group?: ReaderGroup): Promise<ChunkLease> {
    const { bufferBytes, maxBytes } = options
    const chunk = new SharedChunk(this.buffers, this.#take(bufferBytes), position)
    const reading = chunk.load(body, maxBytes)
    group?.add(chunk)
    try {
      await reading
      return chunk.lease(position, maxBytes)
    } catch (error) {
      chunk.release()
      throw error
    } finally {
      if (!chunk.valid) group?.remove(chunk)
    }
  }

  #take(bufferBytes: number): Buffer {
    const buffer = this.buffers.take(bufferBytes)
    if (this.buffers.isPooled(buffer)) return buffer
    for (const group of this.#groups.values()) group.clear()
    return this.buffers.take(bufferBytes)
  }
}

/** The position of one reader of a group. */
class ReaderPosition {
  position = 0
  #movedAt = 0

  move(position: number, now: number): void {
    this.position = position
    this.#movedAt = now
  }

  /** Whether it is behind `other` and moving, so that it could soon read the same chunks. */
  canCatchUpWith(other: ReaderPosition, now: number): boolean {
    const behindBytes = other.position - this.position
    return behindBytes > maxKeptBytes / 2 && behindBytes < catchUpBytes && now - this.#movedAt < catchUpMs
  }
}

/** The readers of the same bytes, and the chunks read last. */
class ReaderGroup {
  readonly #readers = new Set<ReaderPosition>()
  #chunks: SharedChunk[] = []
  #bytes = 0

  get size(): number {
    return this.#readers.size
  }

  enter(): ReaderPosition {
    const reader = new ReaderPosition()
    this.#readers.add(reader)
    return reader
  }

  leave(reader: ReaderPosition): void {
    this.#readers.delete(reader)
    if (this.#readers.size <= 1) this.clear()
  }

  /** Whether another reader is about to catch up with `reader`. */
  hasFollower(reader: ReaderPosition, now: number): boolean {
    for (const each of this.#readers) if (each.canCatchUpWith(reader, now)) return true
    return false
  }

  /** The chunk that holds the byte at `position`, or is being read and may hold it. */
  find(position: number, maxBufferBytes: number): SharedChunk | undefined {
    return this.#chunks.findLast(chunk => chunk.position <= position && position < chunk.end && chunk.bufferBytes <= maxBufferBytes)
  }

  add(chunk: SharedChunk): void {
    chunk.retain()
    this.#chunks.push(chunk)
    this.#bytes += chunk.bufferBytes
    while (this.#bytes > maxKeptBytes) this.#shift()
  }

  #shift(): void {
    const chunk = this.#chunks.shift()
    if (!chunk) return
    this.#bytes -= chunk.bufferBytes
    chunk.release()
  }

  remove(chunk: SharedChunk): void {
    const at = this.#chunks.indexOf(chunk)
    if (at < 0) return
    this.#chunks.splice(at, 1)
    this.#bytes -= chunk.bufferBytes
    chunk.release()
  }

  clear(): void {
    while (this.#chunks.length > 0) this.#shift()
  }
}
