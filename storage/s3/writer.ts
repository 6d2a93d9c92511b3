import type { RateShare } from '../rate-limiter.ts'
import type { Semaphore } from '../semaphore.ts'
import type { Key, Writer } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { copyObject } from './copy.ts'
import { copyParts, type DirectUpload, minPartBytes, withMultipartUpload } from './multipart.ts'
import { S3Object } from './object.ts'
import { newPartKey, type StoredPart } from './parts.ts'
import { putObject, settleAll, settleOrAbort } from './send.ts'
import type { Spool, SpoolFile } from './spool.ts'

/** What the writers of one storage share, but for `share`. */
export interface S3WriterContext {
  bucket: Bucket
  spool: Spool
  /** Size of a part; larger for objects that would have too many parts. */
  partBytes: number
  /** Limits the parts that all writers send at the same time. */
  sendLimit: Semaphore
  share?: RateShare | undefined
  /** Removes objects, ignoring absent ones. */
  remove(keys: readonly Key[]): Promise<void>
  /** Called when an object of so many bytes was published. */
  onPublished(key: Key, bytes: number): void
}

// Of one writer. Then it waits, so that a slow service slows the client down instead of filling the spool.
const maxConcurrentParts = 3

interface Sending {
  part: StoredPart
  file: SpoolFile
  done: Promise<void>
}

/** An object that is sent part by part; bytes that do not fill a part wait in the spool. */
export class S3Writer implements Writer {
  readonly key: Key
  readonly #context: S3WriterContext
  readonly #parts: StoredPart[]
  readonly #direct: DirectUpload | undefined
  readonly #sending = new Set<Sending>()
  readonly #stop = new AbortController()
  /** The bytes after the last part. */
  #buffered: { offset: number; file: SpoolFile } | undefined
  #reading: { part: StoredPart; object: S3Object } | undefined
  #failure: unknown
  #discarded = false

  /**
   * Continues after `parts`, which are contiguous. With `direct` there are none, and parts are sent straight to the
   * final key.
   */
  constructor(context: S3WriterContext, key: Key, parts: readonly StoredPart[], direct?: DirectUpload) {
    this.#context = context
    this.key = key
    this.#parts = [...parts]
    this.#direct = direct
  }

  get offset(): number {
    return this.#buffered ? this.#buffered.offset + this.#buffered.file.size : this.#partsEnd
  }

  // Where the parts end, including those that are being sent.
  get #partsEnd(): number {
    const last = this.#parts.at(-1)
    return last ? last.offset + last.size : 0
  }

  get #partBytes(): number {
    return Math.max(this.#context.partBytes, Math.ceil(this.#partsEnd / 1_000))
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    while (rest.length > 0) {
      if (this.#failure !== undefined) throw this.#failure
      const { file } = await this.#openBuffer()
      const [some, others] = split(rest, this.#partBytes - file.size)
      const bytes = lengthOf(some)
      // Each writer may always buffer a minimal part: if writers waited for each other, none might proceed.
      const guaranteed = file.size + bytes <= minPartBytes
      if (bytes === 0 || (!guaranteed && !this.#context.spool.fits(bytes) && file.size >= minPartBytes)) {
        await this.#send()
        continue
      }
      await this.#throttle(bytes, signal)
      await this.#append(file, some, bytes)
      rest = others
    }
  }

  // When the client leaves there is no wait, and its bytes are kept.
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

  // A last part that is too short for S3 is fetched back and continued.
  async #openBuffer(): Promise<{ offset: number; file: SpoolFile }> {
    if (this.#buffered) return this.#buffered
    const last = this.#parts.at(-1)
    if (last && last.size < minPartBytes && !this.#direct) return this.#fetchBack(last, last.size)
    this.#buffered = { offset: this.#partsEnd, file: await this.#context.spool.create() }
    return this.#buffered
  }

  async #fetchBack(part: StoredPart, size: number): Promise<{ offset: number; file: SpoolFile }> {
    await this.#settleSending()
    const { spool } = this.#context
    const file = await spool.create()
    const buffer = Buffer.allocUnsafe(256 * 1024)
    while (file.size < size) {
      const read = await this.#readPart(part, buffer.subarray(0, size - file.size), file.size)
      if (read === 0) throw new Error(`${part.key} was truncated`)
      await file.write([buffer.subarray(0, read)])
    }
    spool.reserveOverLimit(size)
    this.#parts.splice(this.#parts.indexOf(part))
    this.#replaced.push(part.key)
    this.#buffered = { offset: part.offset, file }
    return this.#buffered
  }

  // Stored parts whose bytes are in the buffer; removed when those are stored.
  readonly #replaced: Key[] = []

  // Sends the buffer while the next one fills.
  async #send(): Promise<void> {
    const buffered = this.#buffered
    if (!buffered) return
    this.#buffered = undefined
    const { bucket, spool, sendLimit } = this.#context
    const part: StoredPart = { key: newPartKey(this.key, buffered.offset), offset: buffered.offset, size: buffered.file.size }
    const replaced = this.#replaced.splice(0)
    const number = this.#parts.push(part)
    const put = async () => {
      try {
        if (this.#failure !== undefined) throw this.#failure
        const span = { file: buffered.file, start: 0, end: part.size }
        await (this.#direct ? this.#direct.put(number, span, this.#stop.signal) : putObject(bucket, part.key, span, this.#stop.signal))
        await this.#context.remove(replaced)
      } catch (error) {
        this.#failure ??= error
        throw error
      } finally {
        this.#sending.delete(entry)
        spool.release(part.size)
        await buffered.file.close()
      }
    }
    const done = Promise.resolve().then(() => sendLimit(put))
    const entry: Sending = { part, file: buffered.file, done }
    // `settleSending` reports the failure.
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
    if (this.#direct) return this.#restart(offset)
    const gone = this.#parts.filter(part => part.offset >= offset).map(part => part.key)
    this.#parts.splice(this.#parts.length - gone.length)
    const last = this.#parts.at(-1)
    if (last && last.offset + last.size > offset) await this.#fetchBack(last, offset - last.offset)
    // The longer part would be chosen, so it goes first: until the shorter one is stored the object ends before it.
    await this.#context.remove([...gone, ...this.#replaced.splice(0)])
  }

  // Parts that were sent to the final key cannot be shortened.
  async #restart(offset: number): Promise<void> {
    if (offset > 0) throw new Error('bytes that were sent cannot be truncated')
    this.#parts.length = 0
    await this.#direct?.abort()
  }

  async #truncateBuffered(file: SpoolFile, size: number): Promise<void> {
    const before = file.size
    await file.truncate(size)
    this.#context.spool.release(before - size)
  }

  async #dropBuffered(): Promise<void> {
    const buffered = this.#buffered
    this.#buffered = undefined
    if (!buffered) return
    this.#context.spool.release(buffered.file.size)
    await buffered.file.close()
  }

  async read(into: Buffer, position: number): Promise<number> {
    if (this.#buffered && position >= this.#buffered.offset) return this.#buffered.file.read(into, position - this.#buffered.offset)
    const part = this.#parts.find(each => position >= each.offset && position < each.offset + each.size)
    if (!part) return 0
    if (this.#direct) throw new Error('bytes that were sent cannot be read')
    for (const each of this.#sending) if (each.part === part) return each.file.read(into, position - part.offset)
    return this.#readPart(part, into, position - part.offset)
  }

  async #readPart(part: StoredPart, into: Buffer, position: number): Promise<number> {
    if (this.#reading?.part !== part) {
      await this.#endReading()
      const object = await S3Object.open(this.#context.bucket, part.key)
      if (!object) throw Object.assign(new Error(`${part.key} was removed by another process`), { code: 'EIO' })
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
    const buffered = this.#buffered
    const size = this.offset
    await this.#settleSending()
    if (this.#direct) await this.#publishDirect(this.#direct, to)
    else if (this.#parts.length === 0 && size <= partBytes) {
      const file = buffered?.file ?? (await this.#openBuffer()).file
      await putObject(bucket, to, { file, start: 0, end: size }, this.#stop.signal)
    } else if (this.#parts.length === 1 && this.#parts[0] && !buffered) await this.#copyWhole(this.#parts[0], to)
    else {
      await withMultipartUpload(bucket, to, async multipart => {
        await copyParts(
          multipart,
          this.#parts.map(part => part.key)
        )
        if (buffered)
          await multipart.put(this.#parts.length + 1, { file: buffered.file, start: 0, end: buffered.file.size }, this.#stop.signal)
      })
    }
    this.#context.onPublished(to, size)
    await this.#dropBuffered()
    await this.#endReading()
    // The object is stored. Parts that stay are removed with the session.
    await this.#context.remove(this.#takeKeys()).catch(() => {})
  }

  async #publishDirect(direct: DirectUpload, to: Key): Promise<void> {
    if (to !== direct.to) throw new Error(`written for ${direct.to}, not for ${to}`)
    const file = this.#buffered?.file ?? (this.#parts.length === 0 ? (await this.#openBuffer()).file : undefined)
    await direct.complete(this.#parts.length + 1, file && { file, start: 0, end: file.size }, this.#stop.signal)
  }

  // Keys of all stored parts; the writer forgets them.
  #takeKeys(): Key[] {
    const parts = this.#parts.splice(0)
    return [...(this.#direct ? [] : parts.map(part => part.key)), ...this.#replaced.splice(0)]
  }

  async #copyWhole(part: StoredPart, to: Key): Promise<void> {
    if (await copyObject(this.#context.bucket, part.key, to, part.size)) return
    throw Object.assign(new Error(`${part.key} was removed by another process`), { code: 'EIO' })
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

// Splits chunks after `bytes` bytes.
function split(chunks: readonly Uint8Array[], bytes: number): [Uint8Array[], Uint8Array[]] {
  let left = Math.max(0, bytes)
  const [some, others]: [Uint8Array[], Uint8Array[]] = [[], []]
  for (const chunk of chunks) {
    if (left > 0) some.push(chunk.subarray(0, left))
    if (chunk.length > left) others.push(chunk.subarray(left))
    left = Math.max(0, left - chunk.length)
  }
  return [some, others]
}
