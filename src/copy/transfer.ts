import { setTimeout as delay } from 'node:timers/promises'
import { algorithmOf, createDigester, type Digest, type Digester } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
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
  /** In bytes, as the manifest says. */
  size: number
  /** The largest request body; absent: the whole blob in one request. */
  chunkBytes?: number | undefined
  /** Called with the number of bytes that have newly been read for the sink. */
  onBytes: (bytes: number) => void
  signal: AbortSignal
}

const pieceBytes = 256 * 1024
// Attempts in a row that bring no byte further.
const resumeAttempts = 3
const firstPauseMs = 200
const cancelTimeoutMs = 5_000

/**
 * Sends a blob, verified on the way: the last piece is sent only when the digest of all is right. After an error of the
 * sink it goes on where the session stands; an error of the source is final, since sources resume by themselves. A
 * session that comes to nothing is cancelled.
 */
export async function transferBlob(transfer: Transfer): Promise<void> {
  const session = await transfer.sink.startUpload(transfer.name, algorithmOf(transfer.digest), transfer.signal)
  try {
    await new BlobTransfer(transfer, session).run()
  } catch (error) {
    await Promise.race([session.cancel().catch(() => {}), delay(cancelTimeoutMs, undefined, { ref: false })])
    throw error
  }
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
  readonly #session: UploadSession
  readonly #digester: Digester
  /** Bytes from the beginning that the digester has seen; those that are read again are not counted twice. */
  #verified = 0
  #sourceFailure: { error: unknown } | undefined

  constructor(transfer: Transfer, session: UploadSession) {
    this.#transfer = transfer
    this.#session = session
    this.#digester = createDigester(algorithmOf(transfer.digest))
  }

  async run(): Promise<void> {
    const { signal } = this.#transfer
    for (let attempts = 1; ; attempts++) {
      const before = this.#session.offset
      try {
        return await this.#send()
      } catch (error) {
        signal.throwIfAborted()
        if (this.#sourceFailure) throw this.#sourceFailure.error
        if (error instanceof OciError || !(await this.#refreshed())) throw error
        if (this.#session.offset > before) attempts = 0
        if (attempts >= resumeAttempts) throw error
        await delay(firstPauseMs * 2 ** attempts, undefined, { signal })
      }
    }
  }

  // A session that the sink does not know any more cannot be resumed: the first error says more.
  async #refreshed(): Promise<boolean> {
    try {
      await this.#session.refresh(this.#transfer.signal)
      return this.#session.offset <= this.#transfer.size
    } catch {
      this.#transfer.signal.throwIfAborted()
      return false
    }
  }

  async #send(): Promise<void> {
    const { digest, size, signal } = this.#transfer
    const session = this.#session
    if (session.offset === size) return void (await session.finish(digest))
    const opened = await this.#open(session.offset)
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
    const { source, sourceName, digest, size, signal } = this.#transfer
    return this.#fromSource(async () => {
      const want = { signal, ...(offset > 0 ? { range: { first: offset } } : {}) }
      const { value } = await source.openBlob(sourceName, digest, want)
      // A source that does not know the size gives the whole blob whatever the range.
      const position = value.part?.offset ?? Number.POSITIVE_INFINITY
      if (position <= offset && (value.size === undefined || value.size === size)) return { ...value, position, closing: false }
      await value.body.close()
      throw new Error(`the source has ${value.size} bytes of the blob, the manifest says ${size}`)
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
    const { digest, size, signal, onBytes } = this.#transfer
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
      onBytes(fresh)
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
