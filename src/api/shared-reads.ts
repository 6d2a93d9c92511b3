import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Body } from '../oci/source.ts'
import type { Buffers } from './buffers.ts'
import { Block, type Loan } from './shared-chunk.ts'

// Of one body, for those who come behind.
const mostKept = 4 * 1024 * 1024
// Who is ahead lets those who are less than so far behind, and have moved within so many ms, go first: together they need one read. It waits for some turns of the event
// loop, which are long only while the others have something to send; in a turn each of them sends a piece, and it waits for about so many. With 64 clients, of whom there
// are always some near each other, waiting longer took a tenth of the speed.
const reach = 128 * 1024 * 1024
const brisk = 10
const patience = 16

/** How much is read: about `size` bytes into a buffer, never more than `most`. */
export interface Amount {
  size: number
  most: number
  /** No larger buffers are shared with others: a client that rests would keep them. */
  largest: number
}

/** What one transfer reads of a body. */
export interface Reader {
  /** Bytes at `position`; none is the end. Rejects as the body does. */
  read(position: number, amount: Amount): Promise<Loan>
  /** It reads no more. What was lent stays until it is given back. */
  end(): void
}

/** Reads bodies into pooled buffers. Who reads the same at about the same time shares one read and one buffer: a whole cluster pulls an image at once. */
export class Reads {
  readonly buffers: Buffers
  readonly #now: () => number
  readonly #crowds = new Map<string | object, Crowd>()

  constructor(buffers: Buffers, now: () => number = () => performance.now()) {
    this.buffers = buffers
    this.#now = now
  }

  /** Whoever asks ends the reader, and closes the body. */
  open(body: Body): Reader {
    const { identity } = body
    if (identity === undefined) return { read: (position, amount) => this.#own(body, position, amount), end: () => {} }
    const crowd = this.#crowds.get(identity) ?? new Crowd()
    this.#crowds.set(identity, crowd)
    const place = crowd.enter()
    return {
      read: async (position, amount) => {
        // Each for itself: it must not have to wait for another's client, nor for that one's fault.
        const ready = body.ready?.(position)
        if (ready) await ready
        place.move(position, this.#now())
        return this.#shared(body, place, amount, crowd)
      },
      end: () => {
        crowd.leave(place)
        if (crowd.size === 0) this.#crowds.delete(identity)
      }
    }
  }

  async #shared(body: Body, place: Place, amount: Amount, crowd: Crowd): Promise<Loan> {
    const { position } = place
    for (let turns = 0; crowd.size > 1 && body.identity !== undefined; ) {
      const block = crowd.find(position, amount.largest)
      if (!block) {
        if (turns >= Math.floor(patience / crowd.size) || !crowd.pursues(place, this.#now()))
          return this.#own(body, position, amount, crowd)
        turns++
        await nextTurn()
        continue
      }
      block.hold()
      if (block.loading) await block.loading
      if (block.sound && position < block.end) {
        // A write over TLS holds as much again in memory.
        return block.lend(position, Math.min(amount.most, this.buffers.share(amount.size)))
      }
      block.letGo()
      if (block.sound) return this.#own(body, position, amount, crowd)
      // Found again and again otherwise: nothing else has a turn in this loop.
      crowd.forget(block)
    }
    return this.#own(body, position, amount)
  }

  async #own(body: Body, position: number, { size, most }: Amount, crowd?: Crowd): Promise<Loan> {
    const block = new Block(this.buffers, this.#take(size), position)
    const reading = block.load(body, most)
    crowd?.keep(block)
    try {
      await reading
      return block.lend(position, most)
    } catch (error) {
      block.letGo()
      throw error
    } finally {
      if (!block.sound) crowd?.forget(block)
    }
  }

  #take(size: number): Buffer {
    const buffer = this.buffers.take(size)
    if (this.buffers.owns(buffer)) return buffer
    for (const crowd of this.#crowds.values()) crowd.clear()
    return this.buffers.take(size)
  }
}

/** Where a reader of a crowd is. */
class Place {
  position = 0
  /** When it came there. */
  #since = 0

  move(position: number, now: number): void {
    this.position = position
    this.#since = now
  }

  /** Whether it is behind `other`, but could be with it soon. */
  follows(other: Place, now: number): boolean {
    const behind = other.position - this.position
    return behind > mostKept / 2 && behind < reach && now - this.#since < brisk
  }
}

/** Those who read the same bytes, and what was read last. */
class Crowd {
  readonly #places = new Set<Place>()
  #blocks: Block[] = []
  #bytes = 0

  get size(): number {
    return this.#places.size
  }

  enter(): Place {
    const place = new Place()
    this.#places.add(place)
    return place
  }

  leave(place: Place): void {
    this.#places.delete(place)
    if (this.#places.size <= 1) this.clear()
  }

  /** Whether somebody is about to catch up with `place`. */
  pursues(place: Place, now: number): boolean {
    for (const each of this.#places) if (each.follows(place, now)) return true
    return false
  }

  /** The block that holds the byte at `position`, or is being read and should. */
  find(position: number, largest: number): Block | undefined {
    return this.#blocks.findLast(block => block.position <= position && position < block.end && block.size <= largest)
  }

  keep(block: Block): void {
    block.hold()
    this.#blocks.push(block)
    this.#bytes += block.size
    while (this.#bytes > mostKept) this.#shift()
  }

  #shift(): void {
    const block = this.#blocks.shift()
    if (!block) return
    this.#bytes -= block.size
    block.letGo()
  }

  forget(block: Block): void {
    const at = this.#blocks.indexOf(block)
    if (at < 0) return
    this.#blocks.splice(at, 1)
    this.#bytes -= block.size
    block.letGo()
  }

  clear(): void {
    while (this.#blocks.length > 0) this.#shift()
  }
}
