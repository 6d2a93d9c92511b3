import type { Storage, Writer } from '../../storage/storage.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { mediaTypes } from '../oci/descriptor.ts'
import { algorithmOf, createDigester, type Digest, type Digester } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import type { Name } from '../oci/name.ts'
import { type SessionId, UploadOffsetError, type UploadSession } from '../oci/sink.ts'
import { BodyBrokenError } from './broken.ts'
import type { Commit } from './commit.ts'
import type { Gatherer } from './gather.ts'
import * as keys from './keys.ts'
import { objectsBelow } from './tree.ts'

/** What the sessions of one store share. */
export interface UploadPlace {
  storage: Storage
  commit: Commit
  gatherer: Gatherer
  /** The session is over, one way or another. */
  ended(id: SessionId): void
}

/** An upload session as a file that grows. Requests to one session run one after another. */
export class Upload implements UploadSession {
  readonly id: SessionId
  readonly name: Name
  readonly #place: UploadPlace
  /** The running digest; undefined after a restart, when the file is read once again at the end. */
  #digester: Digester | undefined
  #offset: number
  #tail: Promise<unknown> = Promise.resolve()
  #requests = 0
  #over = false

  constructor(place: UploadPlace, name: Name, id: SessionId, from: { offset: number; digester?: Digester }) {
    this.#place = place
    this.name = name
    this.id = id
    this.#offset = from.offset
    this.#digester = from.digester
  }

  get offset(): number {
    return this.#offset
  }

  append(body: AsyncIterable<Uint8Array>, expect: { offset?: number; length?: number }, signal: AbortSignal): Promise<number> {
    return this.#alone(async () => {
      if (this.#over) throw unknownUpload(this.id)
      if (expect.offset !== undefined && expect.offset !== this.#offset) throw new UploadOffsetError(this.#offset)
      const writer = await this.#writer()
      const before = { offset: this.#offset, digester: this.#digester?.copy() }
      try {
        await this.#receive(writer, body, expect.length, signal)
        await writer.close()
      } catch (error) {
        if (error instanceof BodyBrokenError) await this.#keep(writer)
        else if (error instanceof OciError) await this.#rollBack(writer, before)
        else await this.#discard(writer)
        throw error
      }
      return this.#offset
    })
  }

  async #receive(writer: Writer, body: AsyncIterable<Uint8Array>, length: number | undefined, signal: AbortSignal): Promise<void> {
    const end = length === undefined ? Number.POSITIVE_INFINITY : this.#offset + length
    try {
      await this.#place.gatherer(
        body,
        chunk => {
          this.#digester?.update(chunk)
          this.#offset += chunk.length
          if (this.#offset > end)
            throw new OciError('SIZE_INVALID', { detail: { reason: 'the body goes on past the declared range', length } })
        },
        writer,
        signal
      )
    } finally {
      // A write that failed leaves less than arrived.
      if (this.#offset !== writer.offset) this.#digester = undefined
      this.#offset = writer.offset
    }
    if (length !== undefined && this.#offset !== end) {
      throw new OciError('SIZE_INVALID', { detail: { reason: 'the body is shorter than the declared range', length } })
    }
  }

  // A file that the disk did not take whole is not gone on with.
  async #keep(writer: Writer): Promise<void> {
    try {
      await writer.close()
    } catch (error) {
      await this.#discard(writer)
      throw error
    }
  }

  // The client broke its own word: the session stands where it stood.
  async #rollBack(writer: Writer, before: { offset: number; digester: Digester | undefined }): Promise<void> {
    await writer.truncate(before.offset)
    await this.#keep(writer)
    this.#offset = before.offset
    this.#digester = before.digester
  }

  finish(digest: Digest): Promise<Descriptor> {
    return this.#alone(async () => {
      const writer = await this.#writer()
      try {
        const actual = await this.#digest(writer, digest)
        if (actual !== digest) {
          throw new OciError('DIGEST_INVALID', {
            detail: { reason: 'the bytes have another digest', provided: digest, actual, size: this.#offset }
          })
        }
        await this.#place.commit.blob(this.name, digest, writer)
      } catch (error) {
        await this.#discard(writer)
        throw error
      }
      await this.#end()
      return { mediaType: mediaTypes.blob, digest, size: this.#offset }
    })
  }

  async #digest(writer: Writer, digest: Digest): Promise<Digest> {
    const algorithm = algorithmOf(digest)
    if (this.#digester?.algorithm === algorithm && writer.offset === this.#offset) return this.#digester.digest()
    const digester = createDigester(algorithm)
    const buffer = Buffer.allocUnsafe(256 * 1024)
    let position = 0
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
      const { storage } = this.#place
      const found = await Promise.all(
        [keys.upload(this.name, this.id), keys.uploadStarted(this.name, this.id)].map(key => storage.stat(key))
      )
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

  async #end(): Promise<void> {
    this.#over = true
    this.#place.ended(this.id)
    const { storage } = this.#place
    // Distribution keeps states of the running digest there as well.
    const left = await Array.fromAsync(objectsBelow(storage, keys.session(this.name, this.id)))
    await storage.remove(left, keys.uploads(this.name))
  }

  async #writer(): Promise<Writer> {
    if (this.#over) throw unknownUpload(this.id)
    const key = keys.upload(this.name, this.id)
    const writer = (await this.#place.storage.resume(key)) ?? (this.#offset === 0 ? await this.#place.storage.create(key) : undefined)
    if (!writer) throw unknownUpload(this.id)
    if (writer.offset !== this.#offset) this.#digester = undefined
    this.#offset = writer.offset
    return writer
  }

  // A client that lost its connection comes back before the old request has noticed; so the new one waits.
  #alone<T>(task: () => Promise<T>): Promise<T> {
    this.#requests++
    const result = this.#tail.then(task, task).finally(() => this.#requests--)
    this.#tail = result.catch(() => {})
    return result
  }
}

/** The session is not there, not in this repository, or over. */
export function unknownUpload(id: string): OciError {
  return new OciError('BLOB_UPLOAD_UNKNOWN', { detail: { session: id.slice(0, 160) } })
}
