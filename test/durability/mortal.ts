import type { ConditionalObjects, Durability, Key, Storage, Writer } from '../../storage/storage.ts'
import { createConditionalObjects } from '../support/conditional-objects.ts'

/** The error of every call after the end. */
export class Dead extends Error {
  override readonly name = 'Dead'
}

/** Storage whose process can die between any two steps, and whose times are those of a clock that the test sets. */
export class MortalStorage implements Storage {
  readonly sharing: Storage['sharing']
  /** Of this process alone: no other one runs at the same time, and a lease dies with its process. */
  readonly conditionalObjects?: ConditionalObjects
  readonly #below: Storage
  readonly #times: Map<Key, number>
  readonly #now: () => number
  readonly #underway = new Set<Promise<unknown>>()
  /** Steps that are left; the process is dead at 0. */
  left = Number.POSITIVE_INFINITY

  /** `times` outlives the process, as the disk does. */
  constructor(below: Storage, times: Map<Key, number>, now: () => number) {
    this.sharing = below.sharing
    if (below.sharing === 'shared') this.conditionalObjects = createConditionalObjects({ now: Date.now }).view()
    this.#below = below
    this.#times = times
    this.#now = now
  }

  get dead(): boolean {
    return this.left <= 0
  }

  #step(): void {
    if (--this.left <= 0) throw new Dead('the process is gone')
  }

  async #change<T>(change: Promise<T>): Promise<T> {
    this.#underway.add(change)
    try {
      return await change
    } finally {
      this.#underway.delete(change)
    }
  }

  #timed(key: Key): void {
    this.#times.set(key, this.#now())
  }

  async open(key: Key) {
    this.#step()
    const object = await this.#below.open(key)
    if (!object) return undefined
    const modified = this.#times.get(key) ?? object.modified
    const { size } = object
    return { size, modified, readInto: (into: Buffer, at: number) => object.readInto(into, at), close: () => object.close() }
  }

  async stat(key: Key) {
    this.#step()
    const found = await this.#below.stat(key)
    return found && { ...found, modified: this.#times.get(key) ?? found.modified }
  }

  async get(key: Key, limit?: number) {
    this.#step()
    return this.#below.get(key, limit)
  }

  async put(key: Key, bytes: Uint8Array, promise?: Durability) {
    this.#step()
    await this.#change(this.#below.put(key, bytes, promise))
    this.#timed(key)
    this.#step()
  }

  async ensurePrefix(prefix: Key) {
    this.#step()
    await this.#below.ensurePrefix(prefix)
  }

  async create(key: Key) {
    this.#step()
    this.#timed(key)
    return this.#writer(await this.#change(this.#below.create(key)))
  }

  async resume(key: Key) {
    this.#step()
    const writer = await this.#change(this.#below.resume(key))
    return writer && this.#writer(writer)
  }

  async statUnfinished(key: Key) {
    this.#step()
    const found = await this.#below.statUnfinished(key)
    return found && { ...found, modified: this.#times.get(key) ?? found.modified }
  }

  async stage(to: Key) {
    this.#step()
    const staged = await this.#change(this.#below.stage(to))
    return Object.assign(this.#writer(staged), { reader: staged.reader })
  }

  async move(from: Key, to: Key) {
    this.#step()
    const moved = await this.#change(this.#below.move(from, to))
    this.#timed(to)
    this.#step()
    return moved
  }

  #writer(below: Writer): Writer {
    return {
      key: below.key,
      get offset() {
        return below.offset
      },
      write: async chunks => {
        this.#step()
        await below.write(chunks)
      },
      truncate: offset => below.truncate(offset),
      read: (into, at) => below.read(into, at),
      fingerprint: offset => below.fingerprint(offset),
      publish: async to => {
        this.#step()
        await this.#change(below.publish(to))
        this.#timed(to)
        this.#step()
      },
      discard: async () => {
        if (this.dead) await this.#change(below.close())
        else await this.#change(below.discard())
      },
      close: () => this.#change(below.close())
    }
  }

  async *list(prefix: Key, after?: Key) {
    this.#step()
    for await (const found of this.#below.list(prefix, after)) yield { ...found, modified: this.#times.get(found.key) ?? found.modified }
  }

  async *walk(prefix: Key, after?: string) {
    this.#step()
    yield* this.#below.walk(prefix, after)
  }

  async touch(keys: readonly Key[]) {
    this.#step()
    for (const key of keys) if (await this.#below.stat(key)) this.#timed(key)
  }

  // A removal of many can be cut in the middle.
  async remove(keys: readonly Key[], under?: Key, signal?: AbortSignal) {
    for (const key of keys) {
      this.#step()
      await this.#change(this.#below.remove([key], under, signal))
      this.#times.delete(key)
    }
  }

  check() {
    return this.#below.check()
  }

  checkWritable() {
    return this.#below.checkWritable()
  }

  usage() {
    return this.#below.usage()
  }

  shortage(bytes: number) {
    return this.#below.shortage(bytes)
  }

  recount(signal: AbortSignal) {
    return this.#below.recount(signal)
  }

  // A process that is gone sends nothing any more: what it began has come to its end when the next one looks.
  async close() {
    while (this.#underway.size > 0) await Promise.allSettled(this.#underway)
    await this.#below.close()
  }
}
