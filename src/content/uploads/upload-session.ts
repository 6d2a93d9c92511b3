import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Key, Storage, Writer } from '../../../storage/storage.ts'
import { type Descriptor, mediaTypes } from '../../oci/descriptor.ts'
import { algorithmOf, createDigester, type Digest, type Digester } from '../../oci/digest.ts'
import { OciError } from '../../oci/errors.ts'
import type { Name } from '../../oci/name.ts'
import { type Chunk, type SessionId, UploadOffsetError, type UploadSession } from '../../oci/sink.ts'
import type { Commit } from '../commit.ts'
import * as keys from '../keys.ts'
import type { Coordination } from '../shared/coordination.ts'
import { objectsBelow } from '../walk.ts'
import { BodyBrokenError, type BodyWriter } from './body-writer.ts'

/** What the upload sessions of one storage share. */
export interface UploadContext {
  storage: Storage
  coordination: Pick<Coordination, 'othersWrite'>
  commit: Commit
  writeBody: BodyWriter
  /** The session was finished, cancelled or lost. */
  onEnd(id: SessionId): void
}

// For so long after its start here, a session is not checked for having been ended by another process.
const freshMs = 5_000

// The digest of the first `offset` bytes, and what tells whether a writer still begins with them.
interface Digested {
  digester: Digester
  offset: number
  /** Of those bytes as they are stored (see `Writer.fingerprint`); undefined while only `writer` has them. */
  fingerprint: string | undefined
  writer?: Writer
}

/**
 * An upload session whose bytes are an unfinished object of the storage. Its requests run one at a time in this
 * process; another process that shares the storage may go on with it in between.
 */
export class StoredUploadSession implements UploadSession {
  readonly id: SessionId
  readonly name: Name
  readonly #context: UploadContext
  /** Undefined after a restart: then all bytes are read again at the end. */
  #digested: Digested | undefined
  #offset: number
  /** By the monotonic clock in ms; until then it is taken to exist. Undefined if it was not started here. */
  #freshUntil: number | undefined
  readonly #mutex = createMutex()
  #requests = 0
  #ended = false

  constructor(context: UploadContext, name: Name, id: SessionId, from: { offset: number; digester?: Digester }) {
    this.#context = context
    this.name = name
    this.id = id
    this.#offset = from.offset
    this.#digested = from.digester && { digester: from.digester, offset: 0, fingerprint: undefined }
    this.#freshUntil = from.digester && performance.now() + freshMs
  }

  get offset(): number {
    return this.#offset
  }

  async refresh(): Promise<void> {
    // A running request knows the offset.
    if (!this.#context.coordination.othersWrite || this.#requests > 0) return
    await this.#exclusively(async () => {
      const { storage } = this.#context
      const written = await storage.statUnfinished(keys.upload(this.name, this.id))
      if (!written) await this.#demandStarted()
      this.#offset = written?.size ?? 0
    })
  }

  append(chunk: Chunk): Promise<number> {
    return this.#exclusively(async () => {
      const writer = await this.#writer()
      await this.#receiveChunk(writer, chunk)
      await this.#closeWriter(writer)
      return this.#offset
    })
  }

  // Leaves the writer open; if it fails, the writer has ended.
  async #receiveChunk(writer: Writer, chunk: Chunk): Promise<void> {
    if (chunk.offset !== undefined && chunk.offset !== this.#offset) {
      await writer.close()
      throw new UploadOffsetError(this.#offset)
    }
    const running = this.#digesterOf(writer)
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
      // After a failed write fewer bytes are stored than arrived.
      if (running) {
        const whole = this.#offset === writer.offset
        this.#digested = whole ? { digester: running, offset: writer.offset, fingerprint: undefined, writer } : undefined
      }
      this.#offset = writer.offset
    }
    if (length !== undefined && this.#offset !== end) {
      throw new OciError('SIZE_INVALID', { detail: { reason: 'the body is shorter than the declared range', length } })
    }
  }

  // The running digest, if it covers all bytes of the writer.
  #digesterOf(writer: Writer): Digester | undefined {
    return this.#digested?.offset === writer.offset && this.#isPrefixOf(writer) ? this.#digested.digester : undefined
  }

  // Whether the writer begins with the bytes of the running digest: another process may have written others.
  #isPrefixOf(writer: Writer): boolean {
    if (!this.#digested) return false
    const { offset, fingerprint: seal, writer: own } = this.#digested
    return offset === 0 || own === writer || (seal !== undefined && writer.fingerprint(offset) === seal)
  }

  // A session whose bytes were not stored completely cannot go on.
  async #closeWriter(writer: Writer): Promise<void> {
    try {
      await writer.close()
    } catch (error) {
      await this.#discard(writer)
      throw error
    }
    if (this.#digested?.writer !== writer) return
    const { digester, offset } = this.#digested
    this.#digested = { digester, offset, fingerprint: writer.fingerprint(offset) }
  }

  // The body contradicted its own headers: the session is as it was before.
  async #rollBack(writer: Writer, { offset, digester }: { offset: number; digester: Digester | undefined }): Promise<void> {
    await writer.truncate(offset)
    this.#offset = offset
    if (digester) this.#digested = { digester, offset, fingerprint: undefined, writer }
    await this.#closeWriter(writer)
  }

  finish(digest: Digest, last?: Chunk): Promise<Descriptor> {
    return this.#exclusively(async () => {
      const writer = await this.#writer(last && digest)
      if (last) await this.#receiveChunk(writer, last)
      let writtenHere = false
      try {
        // Then no other process has written to it.
        writtenHere = this.#freshUntil !== undefined && this.#digesterOf(writer) !== undefined
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
      await this.#end(writtenHere ? [keys.uploadStarted(this.name, this.id)] : undefined)
      return { mediaType: mediaTypes.blob, digest, size: this.#offset }
    })
  }

  // Reads what the running digest does not cover.
  async #digest(writer: Writer, digest: Digest): Promise<Digest> {
    const algorithm = algorithmOf(digest)
    const known = this.#digested?.digester.algorithm === algorithm && this.#isPrefixOf(writer) ? this.#digested : undefined
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
    return this.#exclusively(async () => this.#discard(await this.#writer()))
  }

  /** Cancels a session to which nothing was written since `before` (ms since the epoch); resolves to whether it did. */
  async expire(before: number): Promise<boolean> {
    // In use, however old its last byte is. The search for idle sessions must not wait for it.
    if (this.#requests > 0) return false
    return this.#exclusively(async () => {
      const { storage } = this.#context
      const found = await Promise.all([
        storage.statUnfinished(keys.upload(this.name, this.id)),
        storage.stat(keys.uploadStarted(this.name, this.id))
      ])
      if (this.#ended || found.some(each => each !== undefined && each.modified >= before)) return false
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

  // Removes `left`, or without it everything below the session: Distribution keeps states of the running digest there,
  // and another process may have written objects.
  async #end(left?: readonly Key[]): Promise<void> {
    this.#ended = true
    this.#context.onEnd(this.id)
    const { storage } = this.#context
    const found = left ?? (await Array.fromAsync(objectsBelow(storage, keys.session(this.name, this.id))))
    await storage.remove(found, keys.uploads(this.name))
  }

  // With `whole`, everything that is still to be written comes with this request and has that digest.
  async #writer(whole?: Digest): Promise<Writer> {
    if (this.#ended) throw unknownUpload(this.id)
    const { storage } = this.#context
    const key = keys.upload(this.name, this.id)
    let writer = await storage.resume(key)
    if (!writer) {
      if (this.#context.coordination.othersWrite) {
        if (this.#offset !== 0 || performance.now() > (this.#freshUntil ?? 0)) await this.#demandStarted()
      } else if (this.#offset !== 0) throw unknownUpload(this.id)
      writer = await storage.create(key, { earlier: 'nothing', ...(whole ? { publishTo: keys.blob(whole) } : {}) })
      // Its bytes cannot be read again at the end.
      if (whole) this.#digested = { digester: createDigester(algorithmOf(whole)), offset: 0, fingerprint: undefined }
    }
    this.#offset = writer.offset
    return writer
  }

  // Another process may have ended it.
  async #demandStarted(): Promise<void> {
    if (await this.#context.storage.stat(keys.uploadStarted(this.name, this.id))) return
    this.#ended = true
    this.#context.onEnd(this.id)
    throw unknownUpload(this.id)
  }

  // A client that lost its connection may resume before the old request has failed: the new request waits for it.
  #exclusively<T>(task: () => Promise<T>): Promise<T> {
    this.#requests++
    return this.#mutex(task).finally(() => this.#requests--)
  }
}

/** There is no such session in this repository, or it has ended. */
export function unknownUpload(id: string): OciError {
  return new OciError('BLOB_UPLOAD_UNKNOWN', { detail: { session: id.slice(0, 160) } })
}
