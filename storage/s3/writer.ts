import type { RateShare } from '../rate-limiter.ts'
import type { createSemaphore } from '../semaphore.ts'
import type { Key, Writer } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { copyObject } from './copy.ts'
import { copyParts, type DirectUpload, minPartBytes, withMultipartUpload } from './multipart.ts'
import { S3Object } from './object.ts'
import { newPartKey, type StoredPart } from './parts.ts'
import { putObject, settleAll, settleOrAbort } from './send.ts'
import type { Spool, SpoolFile } from './spool.ts'

/** What the writers of one storage share. */
export interface WriterContext {
  bucket: Bucket
  spool: Spool
  /** Bytes that go in one request; larger where the object is so large that there would be too many. */
  partBytes: number
  /** Where what is sent by all of them waits for its turn. */
  sendLimit: ReturnType<typeof createSemaphore>
  share?: RateShare | undefined
  /** Removes objects. */
  remove(keys: readonly Key[]): Promise<void>
  /** So many bytes were published there. */
  onPublished(key: Key, bytes: number): void
}

// Sent side by side for one writer; the next one waits, so that a slow service holds the client back and does not fill the spool.
const maxConcurrentParts = 3

interface Sending {
  part: StoredPart
  file: SpoolFile
  done: Promise<void>
}

/** An object that grows part by part; what does not fill one waits in the spool. */
export class S3Writer implements Writer {
  readonly key: Key
  readonly #context: WriterContext
  readonly #parts: StoredPart[]
  readonly #direct: DirectUpload | undefined
  readonly #sending = new Set<Sending>()
  readonly #stop = new AbortController()
  #buffered: { offset: number; file: SpoolFile } | undefined
  #reading: { part: StoredPart; object: S3Object } | undefined
  #failure: unknown
  #discarded = false

  /** Goes on after `parts`, which have no gap; or with `direct` begins anew, and sends straight to where the object is going to lie. */
  constructor(place: WriterContext, key: Key, parts: readonly StoredPart[], direct?: DirectUpload) {
    this.#context = place
    this.key = key
    this.#parts = [...parts]
    this.#direct = direct
  }

  get offset(): number {
    return this.#buffered ? this.#buffered.offset + this.#buffered.file.size : this.#stored
  }

  // Where the parts end, those that are on their way included.
  get #stored(): number {
    const last = this.#parts.at(-1)
    return last ? last.offset + last.size : 0
  }

  get #partBytes(): number {
    return Math.max(this.#context.partBytes, Math.ceil(this.#stored / 1_000))
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    while (rest.length > 0) {
      if (this.#failure !== undefined) throw this.#failure
      const { file } = await this.#openBuffer()
      const [some, others] = split(rest, this.#partBytes - file.size)
      const bytes = lengthOf(some)
      // So much each writer may have at any time: were it to wait for the others, nobody might get on.
      const little = file.size + bytes <= minPartBytes
      if (bytes === 0 || (!little && !this.#context.spool.fits(bytes) && file.size >= minPartBytes)) {
        await this.#send()
        continue
      }
      await this.#throttle(bytes, signal)
      await this.#append(file, some, bytes)
      rest = others
    }
  }

  // Whoever leaves keeps nobody waiting, and what he sent is kept.
  async #throttle(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const { share } = this.#context
    await share?.take(bytes, signal).catch(() => share.spend(bytes))
  }

  async #append(file: SpoolFile, chunks: readonly Uint8Array[], bytes: number): Promise<void> {
    const before = file.size
    this.#context.spool.reserveOverLimit(bytes)
    try {
      await file.write(chunks)
    } catch (error) {
      this.#context.spool.release(bytes - (file.size - before))
      this.#failure = error
      throw error
    }
  }

  // What is too short to stay a part of its own is fetched back and gone on with.
  async #openBuffer(): Promise<{ offset: number; file: SpoolFile }> {
    if (this.#buffered) return this.#buffered
    const last = this.#parts.at(-1)
    if (last && last.size < minPartBytes && !this.#direct) return this.#fetchBack(last, last.size)
    this.#buffered = { offset: this.#stored, file: await this.#context.spool.create() }
    return this.#buffered
  }

  async #fetchBack(part: StoredPart, size: number): Promise<{ offset: number; file: SpoolFile }> {
    await this.#settleSending()
    const { spool } = this.#context
    const file = await spool.create()
    const buffer = Buffer.allocUnsafe(256 * 1024)
    while (file.size < size) {
      const read = await this.#readPart(part, buffer.subarray(0, size - file.size), file.size)
      if (read === 0) throw new Error(`${part.key} is shorter than it was`)
      await file.write([buffer.subarray(0, read)])
    }
    spool.reserveOverLimit(size)
    this.#parts.splice(this.#parts.indexOf(part))
    this.#replaced.push(part.key)
    this.#buffered = { offset: part.offset, file }
    return this.#buffered
  }

  // Parts whose bytes are in the tail, and which stay until those are stored.
  readonly #replaced: Key[] = []

  // Sends the tail while the next one fills.
  async #send(): Promise<void> {
    const tail = this.#buffered
    if (!tail) return
    this.#buffered = undefined
    const { bucket, spool, sendLimit: sending } = this.#context
    const part: StoredPart = { key: newPartKey(this.key, tail.offset), offset: tail.offset, size: tail.file.size }
    const replaced = this.#replaced.splice(0)
    const number = this.#parts.push(part)
    const put = async () => {
      try {
        if (this.#failure !== undefined) throw this.#failure
        const span = { file: tail.file, start: 0, end: part.size }
        await (this.#direct ? this.#direct.put(number, span, this.#stop.signal) : putObject(bucket, part.key, span, this.#stop.signal))
        await this.#context.remove(replaced)
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
    if (this.#sending.size >= (spool.fits(part.size) ? maxConcurrentParts : 1))
      await Promise.race([...this.#sending].map(each => each.done))
  }

  async #settleSending(): Promise<void> {
    await settleAll([...this.#sending].map(each => each.done))
    if (this.#failure !== undefined) throw this.#failure
  }

  async truncate(offset: number): Promise<void> {
    await this.#settleSending()
    if (this.#buffered && offset >= this.#buffered.offset)
      return this.#truncateBuffered(this.#buffered.file, offset - this.#buffered.offset)
    await this.#dropBuffered()
    if (this.#direct) return this.#dropSent(offset)
    const gone = this.#parts.filter(part => part.offset >= offset).map(part => part.key)
    this.#parts.splice(this.#parts.length - gone.length)
    const last = this.#parts.at(-1)
    if (last && last.offset + last.size > offset) await this.#fetchBack(last, offset - last.offset)
    // The longer one would win; until the shorter one is stored the object ends before it.
    await this.#context.remove([...gone, ...this.#replaced.splice(0)])
  }

  // What was sent straight to its place is there as a whole or not at all.
  async #dropSent(offset: number): Promise<void> {
    if (offset > 0) throw new Error('what was sent cannot be cut back')
    this.#parts.length = 0
    await this.#direct?.abort()
  }

  async #truncateBuffered(file: SpoolFile, size: number): Promise<void> {
    const before = file.size
    await file.truncate(size)
    this.#context.spool.release(before - size)
  }

  async #dropBuffered(): Promise<void> {
    const tail = this.#buffered
    this.#buffered = undefined
    if (!tail) return
    this.#context.spool.release(tail.file.size)
    await tail.file.close()
  }

  async read(into: Buffer, position: number): Promise<number> {
    if (this.#buffered && position >= this.#buffered.offset) return this.#buffered.file.read(into, position - this.#buffered.offset)
    const part = this.#parts.find(each => position >= each.offset && position < each.offset + each.size)
    if (!part) return 0
    if (this.#direct) throw new Error('what was sent cannot be read')
    for (const each of this.#sending) if (each.part === part) return each.file.read(into, position - part.offset)
    return this.#readPart(part, into, position - part.offset)
  }

  async #readPart(part: StoredPart, into: Buffer, position: number): Promise<number> {
    if (this.#reading?.part !== part) {
      await this.#endReading()
      const object = await S3Object.open(this.#context.bucket, part.key)
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
    const { bucket, partBytes } = this.#context
    bucket.key(to)
    const tail = this.#buffered
    const size = this.offset
    await this.#settleSending()
    if (this.#direct) await this.#publishDirect(this.#direct, to)
    else if (this.#parts.length === 0 && size <= partBytes) {
      const file = tail?.file ?? (await this.#openBuffer()).file
      await putObject(bucket, to, { file, start: 0, end: size }, this.#stop.signal)
    } else if (this.#parts.length === 1 && this.#parts[0] && !tail) await this.#copyWhole(this.#parts[0], to)
    else {
      await withMultipartUpload(bucket, to, async multipart => {
        await copyParts(
          multipart,
          this.#parts.map(part => part.key)
        )
        if (tail) await multipart.put(this.#parts.length + 1, { file: tail.file, start: 0, end: tail.file.size }, this.#stop.signal)
      })
    }
    this.#context.onPublished(to, size)
    await this.#dropBuffered()
    await this.#endReading()
    // The object is there; what stays of this is found when the session is removed.
    await this.#context.remove(this.#takeKeys()).catch(() => {})
  }

  async #publishDirect(direct: DirectUpload, to: Key): Promise<void> {
    if (to !== direct.to) throw new Error(`written for ${direct.to}, and not for ${to}`)
    const file = this.#buffered?.file ?? (this.#parts.length === 0 ? (await this.#openBuffer()).file : undefined)
    await direct.complete(this.#parts.length + 1, file && { file, start: 0, end: file.size }, this.#stop.signal)
  }

  // The objects that there are of it, of which it knows nothing afterwards.
  #takeKeys(): Key[] {
    const parts = this.#parts.splice(0)
    return [...(this.#direct ? [] : parts.map(part => part.key)), ...this.#replaced.splice(0)]
  }

  async #copyWhole(part: StoredPart, to: Key): Promise<void> {
    if (await copyObject(this.#context.bucket, part.key, to, part.size)) return
    throw Object.assign(new Error(`${part.key} was removed by somebody else`), { code: 'EIO' })
  }

  async discard(): Promise<void> {
    this.#discarded = true
    this.#failure ??= new Error(`${this.key} was discarded`)
    await settleOrAbort(
      [...this.#sending].map(each => each.done),
      this.#stop
    )
    await this.#dropBuffered()
    await this.#endReading()
    await this.#direct?.abort()
    await this.#context.remove(this.#takeKeys())
  }

  async close(): Promise<void> {
    if (this.#discarded) return
    if (this.#direct) return this.discard()
    try {
      if (this.#failure === undefined && this.#buffered && this.#buffered.file.size > 0) await this.#send()
      await this.#settleSending()
    } finally {
      await this.#dropBuffered()
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
