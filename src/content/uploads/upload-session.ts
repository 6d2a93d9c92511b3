import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Key, Storage, Writer } from '../../../storage/storage.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { mediaTypes } from '../../oci/descriptor.ts'
import { algorithmOf, createDigester, type Digest, type Digester } from '../../oci/digest.ts'
import { OciError } from '../../oci/errors.ts'
import type { Name } from '../../oci/name.ts'
import { type Chunk, type SessionId, UploadOffsetError, type UploadSession } from '../../oci/sink.ts'
import type { Commit } from '../commit.ts'
import * as keys from '../keys.ts'
import type { Coordination } from '../shared/coordination.ts'
import { objectsBelow } from '../walk.ts'
import type { BodyWriter } from './body-writer.ts'
import { BodyBrokenError } from './body-writer.ts'

/** What the sessions of one store share. */
export interface UploadContext {
  storage: Storage
  coordination: Pick<Coordination, 'othersWrite'>
  commit: Commit
  writeBody: BodyWriter
  /** The session is over, one way or another. */
  ended(id: SessionId): void
}

// What another process did to a session that has just begun here is not looked for, in ms.
const fresh = 5_000

// The running digest of the first `offset` bytes, as long as they are those that were stored then.
interface Digested {
  digester: Digester
  offset: number
  /** What the store calls them; undefined while they are only with `writer`. */
  seal: string | undefined
  writer?: Writer
}

/** An upload session as an object that grows. Requests to one session run one after another, in this process; another one may go on with it in between. */
export class StoredUploadSession implements UploadSession {
  readonly id: SessionId
  readonly name: Name
  readonly #context: UploadContext
  /** Undefined after a restart, when everything is read once again at the end. */
  #digested: Digested | undefined
  #offset: number
  /** Until when it is there without being looked for; undefined if it did not begin here. */
  #begun: number | undefined
  readonly #mutex = createMutex()
  #requests = 0
  #over = false

  constructor(place: UploadContext, name: Name, id: SessionId, from: { offset: number; digester?: Digester }) {
    this.#context = place
    this.name = name
    this.id = id
    this.#offset = from.offset
    this.#digested = from.digester && { digester: from.digester, offset: 0, seal: undefined }
    this.#begun = from.digester && performance.now() + fresh
  }

  get offset(): number {
    return this.#offset
  }

  async refresh(): Promise<void> {
    // A request that runs here knows better.
    if (!this.#context.coordination.othersWrite || this.#requests > 0) return
    await this.#alone(async () => {
      const { storage } = this.#context
      const written = await storage.statUnfinished(keys.upload(this.name, this.id))
      if (!written) await this.#mustHaveBegun()
      this.#offset = written?.size ?? 0
    })
  }

  append(chunk: Chunk): Promise<number> {
    return this.#alone(async () => {
      const writer = await this.#writer()
      await this.#receiveChunk(writer, chunk)
      await this.#closeWriter(writer)
      return this.#offset
    })
  }

  // The writer goes on after it; if it fails, the writer has ended.
  async #receiveChunk(writer: Writer, chunk: Chunk): Promise<void> {
    if (chunk.offset !== undefined && chunk.offset !== this.#offset) {
      await writer.close()
      throw new UploadOffsetError(this.#offset)
    }
    const running = this.#runningIn(writer)
    const before = { offset: this.#offset, digester: running?.copy() }
    try {
      await this.#writeChunk(writer, chunk, running)
    } catch (error) {
      if (error instanceof BodyBrokenError) await this.#closeWriter(writer)
      else if (error instanceof OciError) await this.#rollBack(writer, before)
      else await this.#discard(writer)
      throw error
    }
  }

  async #writeChunk(writer: Writer, { body, length, signal }: Chunk, running: Digester | undefined): Promise<void> {
    const end = length === undefined ? Number.POSITIVE_INFINITY : this.#offset + length
    try {
      await this.#context.writeBody(
        body,
        chunk => {
          running?.update(chunk)
          this.#offset += chunk.length
          if (this.#offset > end)
            throw new OciError('SIZE_INVALID', { detail: { reason: 'the body goes on past the declared range', length } })
        },
        writer,
        signal
      )
    } finally {
      // A write that failed leaves less than arrived.
      if (running) {
        const whole = this.#offset === writer.offset
        this.#digested = whole ? { digester: running, offset: writer.offset, seal: undefined, writer } : undefined
      }
      this.#offset = writer.offset
    }
    if (length !== undefined && this.#offset !== end) {
      throw new OciError('SIZE_INVALID', { detail: { reason: 'the body is shorter than the declared range', length } })
    }
  }

  // The running digest, if it is that of all that the writer has.
  #runningIn(writer: Writer): Digester | undefined {
    return this.#digested?.offset === writer.offset && this.#knows(writer) ? this.#digested.digester : undefined
  }

  // Whether the writer begins with the bytes of the running digest; another process may have written others there.
  #knows(writer: Writer): boolean {
    if (!this.#digested) return false
    const { offset, seal, writer: own } = this.#digested
    return offset === 0 || own === writer || (seal !== undefined && writer.fingerprint(offset) === seal)
  }

  // What the medium did not take whole is not gone on with.
  async #closeWriter(writer: Writer): Promise<void> {
    try {
      await writer.close()
    } catch (error) {
      await this.#discard(writer)
      throw error
    }
    if (this.#digested?.writer !== writer) return
    const { digester, offset } = this.#digested
    this.#digested = { digester, offset, seal: writer.fingerprint(offset) }
  }

  // The client broke its own word: the session stands where it stood.
  async #rollBack(writer: Writer, { offset, digester }: { offset: number; digester: Digester | undefined }): Promise<void> {
    await writer.truncate(offset)
    this.#offset = offset
    if (digester) this.#digested = { digester, offset, seal: undefined, writer }
    await this.#closeWriter(writer)
  }

  finish(digest: Digest, last?: Chunk): Promise<Descriptor> {
    return this.#alone(async () => {
      const writer = await this.#writer(last && digest)
      if (last) await this.#receiveChunk(writer, last)
      let ours = false
      try {
        // Nobody else has written to it then.
        ours = this.#begun !== undefined && this.#runningIn(writer) !== undefined
        const actual = await this.#digest(writer, digest)
        if (actual !== digest) {
          throw new OciError('DIGEST_INVALID', {
            detail: { reason: 'the bytes have another digest', provided: digest, actual, size: this.#offset }
          })
        }
        await this.#context.commit.publishBlob(this.name, digest, writer)
      } catch (error) {
        await this.#discard(writer)
        throw error
      }
      await this.#end(ours ? [keys.uploadStarted(this.name, this.id)] : undefined)
      return { mediaType: mediaTypes.blob, digest, size: this.#offset }
    })
  }

  // What the running digest has not seen is read.
  async #digest(writer: Writer, digest: Digest): Promise<Digest> {
    const algorithm = algorithmOf(digest)
    const known = this.#digested?.digester.algorithm === algorithm && this.#knows(writer) ? this.#digested : undefined
    const digester = known?.digester ?? createDigester(algorithm)
    let position = known?.offset ?? 0
    if (position === writer.offset) return digester.digest()
    const buffer = Buffer.allocUnsafe(256 * 1024)
    for (let read = -1; read !== 0; position += read) {
      read = await writer.read(buffer, position)
      digester.update(buffer.subarray(0, read))
    }
    return digester.digest()
  }

  cancel(): Promise<void> {
    return this.#alone(async () => this.#discard(await this.#writer()))
  }

  /** Cancels a session to which nothing was written since `before` (ms since the epoch); resolves to whether it did. */
  async expire(before: number): Promise<boolean> {
    // In use, however long ago its last byte came; who looks for idle sessions must not wait for this one.
    if (this.#requests > 0) return false
    return this.#alone(async () => {
      const { storage } = this.#context
      const found = await Promise.all([
        storage.statUnfinished(keys.upload(this.name, this.id)),
        storage.stat(keys.uploadStarted(this.name, this.id))
      ])
      if (this.#over || found.some(each => each !== undefined && each.modified >= before)) return false
      await this.#discard(await this.#writer())
      return true
    })
  }

  async #discard(writer: Writer): Promise<void> {
    // The bytes are freed before anything else is tried: the disk may be full.
    await writer.truncate(0).catch(() => {})
    await writer.discard()
    await this.#end()
  }

  // Without `left` it is looked for: Distribution keeps states of the running digest there as well, and another process may have written what lost.
  async #end(left?: readonly Key[]): Promise<void> {
    this.#over = true
    this.#context.ended(this.id)
    const { storage } = this.#context
    const found = left ?? (await Array.fromAsync(objectsBelow(storage, keys.session(this.name, this.id))))
    await storage.remove(found, keys.uploads(this.name))
  }

  // With `whole` all that is not written yet comes now, and is going to have that digest.
  async #writer(whole?: Digest): Promise<Writer> {
    if (this.#over) throw unknownUpload(this.id)
    const { storage } = this.#context
    const key = keys.upload(this.name, this.id)
    let writer = await storage.resume(key)
    if (!writer) {
      if (this.#context.coordination.othersWrite) {
        if (this.#offset !== 0 || performance.now() > (this.#begun ?? 0)) await this.#mustHaveBegun()
      } else if (this.#offset !== 0) throw unknownUpload(this.id)
      writer = await storage.create(key, { earlier: 'nothing', ...(whole ? { publishTo: keys.blob(whole) } : {}) })
      // It cannot be read again at the end.
      if (whole) this.#digested = { digester: createDigester(algorithmOf(whole)), offset: 0, seal: undefined }
    }
    this.#offset = writer.offset
    return writer
  }

  // Another process may have ended it.
  async #mustHaveBegun(): Promise<void> {
    if (await this.#context.storage.stat(keys.uploadStarted(this.name, this.id))) return
    this.#over = true
    this.#context.ended(this.id)
    throw unknownUpload(this.id)
  }

  // A client that lost its connection comes back before the old request has noticed; so the new one waits.
  #alone<T>(task: () => Promise<T>): Promise<T> {
    this.#requests++
    return this.#mutex(task).finally(() => this.#requests--)
  }
}

/** The session is not there, not in this repository, or over. */
export function unknownUpload(id: string): OciError {
  return new OciError('BLOB_UPLOAD_UNKNOWN', { detail: { session: id.slice(0, 160) } })
}
