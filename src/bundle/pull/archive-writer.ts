import type { Semaphore } from '../../../storage/semaphore.ts'
import type { Digest } from '../../oci/digest.ts'
import { OciError } from '../../oci/errors.ts'
import type { Source } from '../../oci/source.ts'
import { digestOfBytes } from '../digest-of-bytes.ts'
import type { Patience } from '../push/patience.ts'
import type { ArchivePlan, BlobPiece, Piece } from './archive-plan.ts'
import { Segments } from './segments.ts'

/** What writing an archive needs. */
export interface ArchiveWriterDeps {
  folder: string
  chunkBytes: number | undefined
  source: Source
  patience: Patience
  /** Downloads at once, of all archives. */
  permits: Semaphore
  counts: { fetchedBlobs: number; fetchedBytes: number; presentBlobs: number }
  onBytes(bytes: number, item: string): void
  signal: AbortSignal
}

const pieceBytes = 512 * 1024

/** Writes the archive of a plan: what is not there yet, and each blob verified. */
export class ArchiveWriter implements AsyncDisposable {
  readonly #plan: ArchivePlan
  readonly #deps: ArchiveWriterDeps
  readonly #segments: Segments
  /** Pieces that are not written yet. */
  readonly #open = new Set<Piece>()
  readonly #failed = new AbortController()
  readonly #signal: AbortSignal

  private constructor(plan: ArchivePlan, segments: Segments, deps: ArchiveWriterDeps) {
    this.#plan = plan
    this.#segments = segments
    this.#deps = deps
    this.#signal = AbortSignal.any([deps.signal, this.#failed.signal])
  }

  static async open(plan: ArchivePlan, deps: ArchiveWriterDeps): Promise<ArchiveWriter> {
    return new ArchiveWriter(plan, await Segments.open(deps.folder, plan, deps.chunkBytes), deps)
  }

  /** `present`: all of it was there, and was verified. */
  async run(): Promise<'written' | 'present'> {
    const wasWhole = this.#segments.isWhole
    try {
      // By their places, so that the first files are whole first. The small ones come first: they are at hand.
      for (const piece of this.#plan.pieces) if (!(await this.#isWritten(piece))) this.#open.add(piece)
      for (const piece of [...this.#open]) {
        if (!('bytes' in piece)) continue
        await this.#segments.write(piece.bytes, piece.offset)
        this.#open.delete(piece)
      }
      await this.#finish()
      await this.#fetchAll([...this.#open].filter(isBlobPiece))
      return wasWhole ? 'present' : 'written'
    } catch (error) {
      if (isDiskFull(error)) await this.#segments.removeGrowing()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#segments[Symbol.asyncDispose]()
  }

  async #isWritten(piece: Piece): Promise<boolean> {
    const { offset } = piece
    const length = 'bytes' in piece ? piece.bytes.length : piece.size
    this.#signal.throwIfAborted()
    if (!this.#segments.isKnown(offset, length)) return false
    if ('bytes' in piece) {
      const there = Buffer.alloc(length)
      return (await this.#segments.read(there, offset)) === length && there.equals(piece.bytes)
    }
    const { digest, size } = piece
    const actual = await digestOfBytes(digest, { bytes: this.#segments, offset, size }, { signal: this.#signal })
    if (actual !== digest) return false
    this.#deps.counts.presentBlobs++
    this.#deps.onBytes(size, digest)
    return true
  }

  async #fetchAll(pieces: readonly BlobPiece[]): Promise<void> {
    const fetched = pieces.map(piece =>
      this.#deps.permits(async () => {
        try {
          this.#signal.throwIfAborted()
          await this.#deps.patience.run(() => this.#fetch(piece))
          this.#open.delete(piece)
          this.#deps.counts.fetchedBlobs++
          await this.#finish()
        } catch (error) {
          this.#failed.abort(error)
          throw error
        }
      })
    )
    // Nothing writes to the files any more when this ends.
    await Promise.allSettled(fetched)
    this.#deps.signal.throwIfAborted()
    this.#failed.signal.throwIfAborted()
  }

  async #fetch({ digest, size, name, offset }: BlobPiece): Promise<void> {
    const { source, counts, onBytes } = this.#deps
    // A source verifies what is read as a whole: the last piece comes when the digest is right.
    const { value } = await source.openBlob(name, digest, { signal: this.#signal })
    const { body } = value
    try {
      const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, Math.max(size, 1)))
      let position = 0
      for (;;) {
        const read = await body.readInto(buffer, position)
        if (read === 0) break
        if (position + read > size) throw wrongSize(digest, size, `more than that`)
        await this.#segments.write(buffer.subarray(0, read), offset + position)
        position += read
        counts.fetchedBytes += read
        onBytes(read, digest)
      }
      if (position < size) throw wrongSize(digest, size, `${position}`)
    } finally {
      await body.close()
    }
  }

  #finishing: Promise<void> = Promise.resolve()

  /** Gives each file its name of which all pieces are written, one after another. */
  #finish(): Promise<void> {
    const open = [...this.#open].map(piece => [piece.offset, piece.offset + ('bytes' in piece ? piece.bytes.length : piece.size)] as const)
    const isComplete = (offset: number, length: number) => !open.some(([begin, end]) => begin < offset + length && offset < end)
    this.#finishing = this.#finishing.then(() => this.#segments.finish(isComplete))
    return this.#finishing
  }
}

function isBlobPiece(piece: Piece): piece is BlobPiece {
  return 'digest' in piece
}

function wrongSize(digest: Digest, expected: number, actual: string): OciError {
  return new OciError('SIZE_INVALID', {
    detail: { reason: `${digest}: its descriptor says ${expected} bytes, and the source has ${actual}`, digest }
  })
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}
