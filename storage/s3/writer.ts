import type { RateShare } from '../rate-limiter.ts'
import type { createSemaphore } from '../semaphore.ts'
import type { Key, Writer } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { S3Object } from './object.ts'
import { newPart, type Part } from './parts.ts'
import { allOf, copyAll, copyObject, inParts, leastPart, letEnd, putSpan, type Upload } from './send.ts'
import type { Spool, SpoolFile } from './spool.ts'

/** What the writers of one storage share. */
export interface WriterPlace {
  bucket: Bucket
  spool: Spool
  /** Bytes that go in one request; larger where the object is so large that there would be too many. */
  partBytes: number
  /** Where what is sent by all of them waits for its turn. */
  sending: ReturnType<typeof createSemaphore>
  share?: RateShare | undefined
  /** Removes objects. */
  remove(keys: readonly Key[]): Promise<void>
  /** So many bytes were published there. */
  published(key: Key, bytes: number): void
}

// Sent side by side for one writer; the next one waits, so that a slow service holds the client back and does not fill the spool.
const mostUnderWay = 3

interface Sending {
  part: Part
  file: SpoolFile
  done: Promise<void>
}

/** An object that grows part by part; what does not fill one waits in the spool. */
export class S3Writer implements Writer {
  readonly key: Key
  readonly #place: WriterPlace
  readonly #parts: Part[]
  readonly #direct: Upload | undefined
  readonly #sending = new Set<Sending>()
  readonly #stop = new AbortController()
  #tail: { offset: number; file: SpoolFile } | undefined
  #reading: { part: Part; object: S3Object } | undefined
  #failure: unknown
  #discarded = false

  /** Goes on after `parts`, which have no gap; or with `direct` begins anew, and sends straight to where the object is going to lie. */
  constructor(place: WriterPlace, key: Key, parts: readonly Part[], direct?: Upload) {
    this.#place = place
    this.key = key
    this.#parts = [...parts]
    this.#direct = direct
  }

  get offset(): number {
    return this.#tail ? this.#tail.offset + this.#tail.file.size : this.#stored
  }

  // Where the parts end, those that are on their way included.
  get #stored(): number {
    const last = this.#parts.at(-1)
    return last ? last.offset + last.size : 0
  }

  get #partBytes(): number {
    return Math.max(this.#place.partBytes, Math.ceil(this.#stored / 1_000))
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    while (rest.length > 0) {
      if (this.#failure !== undefined) throw this.#failure
      const { file } = await this.#open()
      const [some, others] = split(rest, this.#partBytes - file.size)
      const bytes = lengthOf(some)
      // So much each writer may have at any time: were it to wait for the others, nobody might get on.
      const little = file.size + bytes <= leastPart
      if (bytes === 0 || (!little && !this.#place.spool.has(bytes) && file.size >= leastPart)) {
        await this.#send()
        continue
      }
      await this.#turn(bytes, signal)
      await this.#fill(file, some, bytes)
      rest = others
    }
  }

  // Whoever leaves keeps nobody waiting, and what he sent is kept.
  async #turn(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const { share } = this.#place
    await share?.take(bytes, signal).catch(() => share.spend(bytes))
  }

  async #fill(file: SpoolFile, chunks: readonly Uint8Array[], bytes: number): Promise<void> {
    const before = file.size
    this.#place.spool.take(bytes)
    try {
      await file.write(chunks)
    } catch (error) {
      this.#place.spool.release(bytes - (file.size - before))
      this.#failure = error
      throw error
    }
  }

  // What is too short to stay a part of its own is fetched back and gone on with.
  async #open(): Promise<{ offset: number; file: SpoolFile }> {
    if (this.#tail) return this.#tail
    const last = this.#parts.at(-1)
    if (last && last.size < leastPart && !this.#direct) return this.#fetchBack(last, last.size)
    this.#tail = { offset: this.#stored, file: await this.#place.spool.create() }
    return this.#tail
  }

  async #fetchBack(part: Part, size: number): Promise<{ offset: number; file: SpoolFile }> {
    await this.#settled()
    const { spool } = this.#place
    const file = await spool.create()
    const buffer = Buffer.allocUnsafe(256 * 1024)
    while (file.size < size) {
      const read = await this.#readPart(part, buffer.subarray(0, size - file.size), file.size)
      if (read === 0) throw new Error(`${part.key} is shorter than it was`)
      await file.write([buffer.subarray(0, read)])
    }
    spool.take(size)
    this.#parts.splice(this.#parts.indexOf(part))
    this.#replaced.push(part.key)
    this.#tail = { offset: part.offset, file }
    return this.#tail
  }

  // Parts whose bytes are in the tail, and which stay until those are stored.
  readonly #replaced: Key[] = []

  // Sends the tail while the next one fills.
  async #send(): Promise<void> {
    const tail = this.#tail
    if (!tail) return
    this.#tail = undefined
    const { bucket, spool, sending } = this.#place
    const part: Part = { key: newPart(this.key, tail.offset), offset: tail.offset, size: tail.file.size }
    const replaced = this.#replaced.splice(0)
    const number = this.#parts.push(part)
    const put = async () => {
      try {
        if (this.#failure !== undefined) throw this.#failure
        const span = { file: tail.file, start: 0, end: part.size }
        await (this.#direct ? this.#direct.put(number, span, this.#stop.signal) : putSpan(bucket, part.key, span, this.#stop.signal))
        await this.#place.remove(replaced)
      } catch (error) {
        this.#failure ??= error
        throw error
      } finally {
        this.#sending.delete(entry)
        spool.release(part.size)
        await tail.file.close()
      }
    }
    const done = Promise.resolve().then(() => sending(put))
    const entry: Sending = { part, file: tail.file, done }
    // Whoever waits for it sees the failure.
    done.catch(() => {})
    this.#sending.add(entry)
    if (this.#sending.size >= (spool.has(part.size) ? mostUnderWay : 1)) await Promise.race([...this.#sending].map(each => each.done))
  }

  async #settled(): Promise<void> {
    await allOf([...this.#sending].map(each => each.done))
    if (this.#failure !== undefined) throw this.#failure
  }

  async truncate(offset: number): Promise<void> {
    await this.#settled()
    if (this.#tail && offset >= this.#tail.offset) return this.#cutTail(this.#tail.file, offset - this.#tail.offset)
    await this.#dropTail()
    if (this.#direct) return this.#dropSent(offset)
    const gone = this.#parts.filter(part => part.offset >= offset).map(part => part.key)
    this.#parts.splice(this.#parts.length - gone.length)
    const last = this.#parts.at(-1)
    if (last && last.offset + last.size > offset) await this.#fetchBack(last, offset - last.offset)
    // The longer one would win; until the shorter one is stored the object ends before it.
    await this.#place.remove([...gone, ...this.#replaced.splice(0)])
  }

  // What was sent straight to its place is there as a whole or not at all.
  async #dropSent(offset: number): Promise<void> {
    if (offset > 0) throw new Error('what was sent cannot be cut back')
    this.#parts.length = 0
    await this.#direct?.abort()
  }

  async #cutTail(file: SpoolFile, size: number): Promise<void> {
    const before = file.size
    await file.truncate(size)
    this.#place.spool.release(before - size)
  }

  async #dropTail(): Promise<void> {
    const tail = this.#tail
    this.#tail = undefined
    if (!tail) return
    this.#place.spool.release(tail.file.size)
    await tail.file.close()
  }

  async read(into: Buffer, position: number): Promise<number> {
    if (this.#tail && position >= this.#tail.offset) return this.#tail.file.read(into, position - this.#tail.offset)
    const part = this.#parts.find(each => position >= each.offset && position < each.offset + each.size)
    if (!part) return 0
    if (this.#direct) throw new Error('what was sent cannot be read')
    for (const each of this.#sending) if (each.part === part) return each.file.read(into, position - part.offset)
    return this.#readPart(part, into, position - part.offset)
  }

  async #readPart(part: Part, into: Buffer, position: number): Promise<number> {
    if (this.#reading?.part !== part) {
      await this.#endReading()
      const object = await S3Object.open(this.#place.bucket, part.key)
      if (!object) throw Object.assign(new Error(`${part.key} was removed by somebody else`), { code: 'EIO' })
      this.#reading = { part, object }
    }
    return this.#reading.object.readInto(into, position)
  }

  async #endReading(): Promise<void> {
    await this.#reading?.object.close()
    this.#reading = undefined
  }

  fingerprint(offset: number): string | undefined {
    if (this.#direct) return undefined
    const parts = this.#parts.filter(part => part.offset < offset)
    const last = parts.at(-1)
    if ((last ? last.offset + last.size : 0) !== offset || [...this.#sending].some(({ part }) => parts.includes(part))) return undefined
    return `parts ${parts.map(part => part.key.slice(this.key.length)).join()}`
  }

  async publish(to: Key): Promise<void> {
    const { bucket, partBytes } = this.#place
    bucket.key(to)
    const tail = this.#tail
    const size = this.offset
    await this.#settled()
    if (this.#direct) await this.#publishDirect(this.#direct, to)
    else if (this.#parts.length === 0 && size <= partBytes) {
      const file = tail?.file ?? (await this.#open()).file
      await putSpan(bucket, to, { file, start: 0, end: size }, this.#stop.signal)
    } else if (this.#parts.length === 1 && this.#parts[0] && !tail) await this.#copyWhole(this.#parts[0], to)
    else {
      await inParts(bucket, to, async multipart => {
        await copyAll(
          multipart,
          this.#parts.map(part => part.key)
        )
        if (tail) await multipart.put(this.#parts.length + 1, { file: tail.file, start: 0, end: tail.file.size }, this.#stop.signal)
      })
    }
    this.#place.published(to, size)
    await this.#dropTail()
    await this.#endReading()
    // The object is there; what stays of this is found when the session is removed.
    await this.#place.remove(this.#takeKeys()).catch(() => {})
  }

  async #publishDirect(direct: Upload, to: Key): Promise<void> {
    if (to !== direct.to) throw new Error(`written for ${direct.to}, and not for ${to}`)
    const file = this.#tail?.file ?? (this.#parts.length === 0 ? (await this.#open()).file : undefined)
    await direct.complete(this.#parts.length + 1, file && { file, start: 0, end: file.size }, this.#stop.signal)
  }

  // The objects that there are of it, of which it knows nothing afterwards.
  #takeKeys(): Key[] {
    const parts = this.#parts.splice(0)
    return [...(this.#direct ? [] : parts.map(part => part.key)), ...this.#replaced.splice(0)]
  }

  async #copyWhole(part: Part, to: Key): Promise<void> {
    if (await copyObject(this.#place.bucket, part.key, to, part.size)) return
    throw Object.assign(new Error(`${part.key} was removed by somebody else`), { code: 'EIO' })
  }

  async discard(): Promise<void> {
    this.#discarded = true
    this.#failure ??= new Error(`${this.key} was discarded`)
    await letEnd(
      [...this.#sending].map(each => each.done),
      this.#stop
    )
    await this.#dropTail()
    await this.#endReading()
    await this.#direct?.abort()
    await this.#place.remove(this.#takeKeys())
  }

  async close(): Promise<void> {
    if (this.#discarded) return
    if (this.#direct) return this.discard()
    try {
      if (this.#failure === undefined && this.#tail && this.#tail.file.size > 0) await this.#send()
      await this.#settled()
    } finally {
      await this.#dropTail()
      await this.#endReading()
    }
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.length
  return bytes
}

// The first bytes of the chunks, at most `most` of them, and the others.
function split(chunks: readonly Uint8Array[], most: number): [Uint8Array[], Uint8Array[]] {
  let room = Math.max(0, most)
  const [some, others]: [Uint8Array[], Uint8Array[]] = [[], []]
  for (const chunk of chunks) {
    if (room > 0) some.push(chunk.subarray(0, room))
    if (chunk.length > room) others.push(chunk.subarray(room))
    room = Math.max(0, room - chunk.length)
  }
  return [some, others]
}
