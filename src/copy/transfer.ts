import { setTimeout as delay } from 'node:timers/promises'
import { algorithmOf, createDigester, type Digest, type Digester, emptyDigest } from '../oci/digest.ts'
import { isNotFound, OciError, retryableAfterMs } from '../oci/errors.ts'
import type { Name } from '../oci/name.ts'
import { type Sink, UploadOffsetError, type UploadSession } from '../oci/sink.ts'
import type { OpenBlob, Source } from '../oci/source.ts'

/** One blob to be sent from a source to a sink. */
export interface Transfer {
  source: Source
  sourceName: Name
  sink: Sink
  name: Name
  digest: Digest
  /** In bytes, as the manifest says; what the source has counts, once its digest is verified. */
  size: number
  /** A repository of the sink from which the blob may be mounted. */
  mountFrom?: Name | undefined
  /** The largest request body; absent: the whole blob in one request. */
  chunkBytes?: number | undefined
  /** Called with the number of bytes that have newly been read for the sink. */
  onBytes: (bytes: number) => void
  signal: AbortSignal
}

const pieceBytes = 256 * 1024
// Attempts in a row that bring no byte further.
const maxAttempts = 3
// How often a blob is begun, at most: each may send all of it.
const maxSessions = 3
const firstPauseMs = 200
const maxPauseMs = 30_000
const cancelTimeoutMs = 5_000

/**
 * Mounts a blob, or sends it, verified on the way: the last piece is sent only when the digest of all is right. After a
 * transient error of the sink it goes on where the session stands, and with a new session where that is not known; a
 * session whose start was lost expires at the sink. Other errors of the sink are final, and so are all of the source,
 * since sources resume by themselves. A session that comes to nothing is cancelled.
 */
export function transferBlob(transfer: Transfer): Promise<'mounted' | 'copied'> {
  return new BlobTransfer(transfer).run()
}

/** A blob of the source while it is read. */
interface OpenedSource extends OpenBlob {
  /** Where a body stands that can be read forward only. */
  position: number
  /** A read that is still under way then fails because of that. */
  closing: boolean
}

class BlobTransfer {
  readonly #transfer: Transfer
  #size: number
  #mountFrom: Name | undefined
  #session: UploadSession | undefined
  #sessions = 0
  #digester: Digester
  /** Bytes from the beginning that the digester has seen. */
  #verified = 0
  /** Bytes from the beginning that `onBytes` was told of. */
  #reported = 0
  /** Whether the source was opened once, so that the size is the source's. */
  #opened = false
  #sourceFailure: { error: unknown } | undefined

  constructor(transfer: Transfer) {
    this.#transfer = transfer
    this.#size = transfer.size
    this.#mountFrom = transfer.mountFrom
    this.#digester = createDigester(algorithmOf(transfer.digest))
  }

  async run(): Promise<'mounted' | 'copied'> {
    let furthest = 0
    try {
      for (let attempts = 1; ; attempts++) {
        try {
          return await this.#attempt()
        } catch (error) {
          const minPauseMs = await this.#recover(error)
          const offset = this.#session?.offset ?? 0
          if (offset > furthest) attempts = 0
          furthest = Math.max(furthest, offset)
          if (attempts >= maxAttempts) throw error
          await this.#pause(Math.max(firstPauseMs * 2 ** attempts, minPauseMs))
        }
      }
    } catch (error) {
      await this.#cancel()
      throw error
    }
  }

  async #attempt(): Promise<'mounted' | 'copied'> {
    const { sink, name, digest, signal } = this.#transfer
    if (!this.#session && this.#mountFrom !== undefined) {
      if (await sink.mountBlob(name, digest, this.#mountFrom, signal)) return 'mounted'
      this.#mountFrom = undefined
    }
    this.#session ??= await this.#begin()
    await this.#send(this.#session)
    return 'copied'
  }

  async #begin(): Promise<UploadSession> {
    const { sink, name, digest, signal } = this.#transfer
    const session = await sink.startUpload(name, algorithmOf(digest), signal)
    this.#sessions++
    this.#digester = createDigester(algorithmOf(digest))
    this.#verified = 0
    return session
  }

  /** Prepares another attempt, and gives the milliseconds to wait before it at least. Throws what is final. */
  async #recover(error: unknown): Promise<number> {
    this.#transfer.signal.throwIfAborted()
    if (this.#sourceFailure) throw this.#sourceFailure.error
    const pauseMs = error instanceof UploadOffsetError ? 0 : retryableAfterMs(error)
    if (pauseMs === undefined && !(this.#session && isSessionUnknown(error))) throw error
    if (this.#session && !(await this.#isResumable(this.#session))) {
      await this.#cancel()
      if (this.#sessions >= maxSessions) throw error
    } else if (pauseMs === undefined) throw error
    // A session that answered has waited already.
    return this.#session ? 0 : (pauseMs ?? 0)
  }

  // Without its offset a session is of no use. A rate limit is no reason to give it up.
  async #isResumable(session: UploadSession): Promise<boolean> {
    for (let attempts = 1; ; attempts++) {
      try {
        await session.refresh(this.#transfer.signal)
        return session.offset <= this.#size
      } catch (error) {
        this.#transfer.signal.throwIfAborted()
        const pauseMs = retryableAfterMs(error) ?? 0
        if (pauseMs === 0 || attempts === maxAttempts) return false
        await this.#pause(pauseMs)
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(Math.min(ms, maxPauseMs), undefined, { signal: this.#transfer.signal })
  }

  async #cancel(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    if (session) await Promise.race([session.cancel().catch(() => {}), delay(cancelTimeoutMs, undefined, { ref: false })])
  }

  async #send(session: UploadSession): Promise<void> {
    const { digest, signal } = this.#transfer
    // Before the source was opened, only an empty blob is known to be whole.
    const isWhole = this.#opened ? session.offset === this.#size : digest === emptyDigest[algorithmOf(digest)]
    if (isWhole) return void (await session.finish(digest, undefined, signal))
    const opened = await this.#open(session.offset)
    const size = this.#size
    try {
      const chunkBytes = Math.max(this.#transfer.chunkBytes ?? size, session.minChunkBytes ?? 0)
      while (size - session.offset > chunkBytes) {
        const { offset } = session
        await session.append({ body: this.#read(opened, offset, offset + chunkBytes), offset, length: chunkBytes, signal })
        // The body stands behind the session's offset, and may not be readable again.
        if (session.offset !== offset + chunkBytes) throw new UploadOffsetError(session.offset)
      }
      const { offset } = session
      await session.finish(digest, { body: this.#read(opened, offset, size), offset, length: size - offset, signal })
    } finally {
      opened.closing = true
      await opened.body.close()
    }
  }

  async #open(offset: number): Promise<OpenedSource> {
    const { source, sourceName, digest, signal } = this.#transfer
    return this.#fromSource(async () => {
      const want = { signal, ...(offset > 0 ? { range: { first: offset } } : {}) }
      const { value } = await source.openBlob(sourceName, digest, want)
      // A source that does not know the size gives the whole blob whatever the range.
      const position = value.part?.offset ?? Number.POSITIVE_INFINITY
      // A descriptor may have a wrong size, and no source changes the size of a blob.
      if (position <= offset && (!this.#opened || value.size === undefined || value.size === this.#size)) {
        this.#size = value.size ?? this.#size
        this.#opened = true
        return { ...value, position, closing: false }
      }
      await value.body.close()
      throw new Error(`the source has ${value.size} bytes of the blob from ${position} on, expected ${this.#size} from ${offset} on`)
    })
  }

  /** The bytes from `offset` to `end`. */
  async *#read(opened: OpenedSource, offset: number, end: number): AsyncGenerator<Uint8Array, void> {
    while (opened.position < end) {
      const begins = opened.position
      const limit = begins < offset ? offset : end
      // The sink may keep what it is given, so that each piece has a buffer of its own.
      const piece = await this.#fromSource(() => this.#piece(opened, Math.min(limit - begins, pieceBytes)), opened)
      if (begins >= offset) yield piece
    }
  }

  async #piece(opened: OpenedSource, length: number): Promise<Uint8Array> {
    const { digest, signal, onBytes } = this.#transfer
    const size = this.#size
    signal.throwIfAborted()
    const buffer = Buffer.allocUnsafeSlow(length)
    const read = await opened.body.readInto(buffer, opened.position)
    if (read === 0) throw new Error(`the source ended after ${opened.position} of ${size} bytes`)
    const piece = buffer.subarray(0, read)
    opened.position += read
    const fresh = opened.position - this.#verified
    if (fresh > 0) {
      this.#digester.update(piece.subarray(Math.max(read - fresh, 0)))
      this.#verified = opened.position
    }
    if (opened.position > this.#reported) {
      onBytes(opened.position - this.#reported)
      this.#reported = opened.position
    }
    if (opened.position === size) {
      const actual = this.#digester.digest()
      if (actual !== digest) throw new OciError('DIGEST_INVALID', { detail: { reason: 'the source has other bytes', digest, actual } })
    }
    return piece
  }

  async #fromSource<T>(task: () => Promise<T>, opened?: OpenedSource): Promise<T> {
    try {
      return await task()
    } catch (error) {
      if (!opened?.closing) this.#sourceFailure = { error }
      throw error
    }
  }
}

function isSessionUnknown(error: unknown): boolean {
  return isNotFound(error) || (error instanceof OciError && error.code === 'BLOB_UPLOAD_UNKNOWN')
}
