import { GrowingObject } from '../../../storage/growing-object.ts'
import type { Storage } from '../../../storage/storage.ts'
import { algorithmOf, createDigester, type Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Body } from '../../oci/source.ts'
import { forEachChunk } from '../chunks.ts'
import type { Commit } from '../commit.ts'
import { blob as blobKey } from '../keys.ts'

/** A blob that a source sends. */
export interface FillSource {
  /** Of the whole blob, in bytes, if the source declared it. */
  size?: number
  /** From the first byte, in order; throws if the body is truncated. */
  chunks: AsyncIterable<Uint8Array>
  cancel(): void
}

/**
 * How a fill ended: `stored`; bytes of another digest (`wrong`); an error of the source or a truncated body (`broken`);
 * an I/O error of the storage (`medium`); no capacity (`full`).
 */
export type FillResult = 'stored' | 'wrong' | 'broken' | 'medium' | 'full'

/** What the fills of one process share. */
export interface FillContext {
  storage: Storage
  commit: Commit
  /**
   * Resolves when there is capacity for a fill of this size, and reserves it until the fill ends. Rejects with `EDQUOT`
   * if there is none.
   */
  admit(fill: Fill, size: number): Promise<void>
  onEnd(fill: Fill, result: FillResult, error?: Error): void
}

// Readers get all but this before the digest is verified: wrong bytes become a truncated response, never a complete
// one.
const heldBackBytes = 4096
// At most this is gathered for the next write, while one is under way.
const maxGatheredBytes = 1024 * 1024
// Less than this is written only if no more arrives within the coalescing delay.
const minWriteBytes = 256 * 1024
const coalesceMs = 5

/**
 * One download of a blob, for all clients that request it. It belongs to the process, not to a request: a client that
 * disconnects does not stop it. A range that ends before the held-back bytes is answered before the digest is verified.
 */
export class Fill {
  readonly digest: Digest
  /** The upstream that the bytes come from, for the provenance record. */
  readonly upstream: string
  readonly startedAt: number
  /** Resolves when the source has responded, to the size if it declared one; rejects with its error. */
  readonly opened: Promise<number | undefined>
  /** Resolves when the blob can be opened from the storage, or the fill has failed; never rejects. */
  readonly done: Promise<FillResult>
  readonly #context: FillContext
  readonly #names: Set<Name>
  readonly #stop = new AbortController()
  readonly #open = Promise.withResolvers<number | undefined>()
  #growing: GrowingObject | undefined
  #size: number | undefined

  /** Starts at once. No `await` between finding no fill and this: that is what makes it single-flight. */
  constructor(
    context: FillContext,
    { digest, name, upstream, now }: { digest: Digest; name: Name; upstream: string; now: number },
    open: (signal: AbortSignal) => Promise<FillSource>
  ) {
    this.#context = context
    this.digest = digest
    this.upstream = upstream
    this.startedAt = now
    this.#names = new Set([name])
    this.opened = this.#open.promise
    this.opened.catch(() => {})
    this.done = this.#run(open)
  }

  /** Whether `name` may read the blob. */
  allows(name: Name): boolean {
    return this.#names.has(name)
  }

  /** Lets another repository read the blob too, since upstream allowed it; it is linked there at the end. */
  allow(name: Name): void {
    this.#names.add(name)
  }

  /** Bytes that are on the disk. */
  get offset(): number {
    return this.#growing?.offset ?? 0
  }

  get size(): number | undefined {
    return this.#size
  }

  /** Reads the blob, and waits for bytes that have not arrived. Call after `opened` has resolved. */
  reader(signal: AbortSignal): Body {
    if (!this.#growing) throw new Error('the fill is not open')
    return this.#growing.reader(signal)
  }

  /** Ends the fill; its readers fail with `reason`. */
  cancel(reason: Error): void {
    this.#stop.abort(reason)
  }

  async #run(open: (signal: AbortSignal) => Promise<FillSource>): Promise<FillResult> {
    let source: FillSource | undefined
    let result: FillResult = 'broken'
    let failure: Error | undefined
    try {
      source = await open(this.#stop.signal)
      this.#size = source.size
      result = 'medium'
      const growing = await this.#create(source.size)
      this.#growing = growing
      this.#open.resolve(source.size)
      result = await this.#fill(growing, source)
    } catch (error) {
      failure = error instanceof SourceError ? (error.cause as Error) : (error as Error)
      if (failure instanceof WrongBytesError) result = 'wrong'
      else if ((failure as NodeJS.ErrnoException).code === 'EDQUOT') result = 'full'
      else if (error instanceof SourceError || this.#stop.signal.aborted) result = 'broken'
    }
    // First out of the map: the next request finds the stored blob, or starts a new fill.
    this.#context.onEnd(this, result, failure)
    if (failure) {
      source?.cancel()
      this.#open.reject(failure)
      this.#growing?.fail(failure)
      await this.#growing?.writer.discard().catch(() => {})
    }
    await this.#growing?.end().catch(() => {})
    return result
  }

  // Checked beforehand: a blob that does not fit would fill the disk, and truncate the response of every client.
  async #create(size: number | undefined): Promise<GrowingObject> {
    const { storage, admit } = this.#context
    if (size !== undefined) await admit(this, size)
    return GrowingObject.create(storage, blobKey(this.digest), size)
  }

  async #fill(growing: GrowingObject, source: FillSource): Promise<FillResult> {
    const digester = createDigester(algorithmOf(this.digest))
    const pump = new GrowingWriter(growing, source.size, this.#stop.signal)
    try {
      await forEachChunk(source.chunks, sourceError, chunk => {
        this.#stop.signal.throwIfAborted()
        digester.update(chunk)
        return pump.push(chunk)
      })
    } finally {
      await pump.drain()
    }
    const actual = digester.digest()
    if (actual !== this.digest || (source.size !== undefined && source.size !== growing.offset)) {
      throw new SourceError(new WrongBytesError(this.digest, actual, growing.offset))
    }
    // Verified: readers need not wait for the disk.
    growing.complete()
    await this.#publish(growing)
    return 'stored'
  }

  async #publish(growing: GrowingObject): Promise<void> {
    const { commit } = this.#context
    let published = false
    await commit.holds.during(this.digest, async () => {
      // A set is iterated in the order of insertion, names that come meanwhile included.
      for (const name of this.#names) {
        if (published) await commit.linkBlob(name, this.digest, { upstream: this.upstream })
        else await commit.publishBlob(name, this.digest, growing.writer, this.upstream)
        published = true
      }
    })
  }
}

/** The bytes from the source are not those of the digest. */
export class WrongBytesError extends Error {
  constructor(digest: Digest, actual: Digest, size: number) {
    super(`expected ${digest}, received ${size} bytes of ${actual}`)
    this.name = 'WrongBytesError'
  }
}

// An error of the source, as opposed to one of the storage.
class SourceError extends Error {
  constructor(cause: unknown) {
    super('the source broke', { cause })
  }
}

const sourceError = (error: unknown): Error => new SourceError(error)

// Gathers the next write while one is under way, and releases each to the readers when it is in the file. A write wakes
// every reader, so that a small one waits for the coalescing delay.
class GrowingWriter {
  readonly #growing: GrowingObject
  readonly #size: number | undefined
  readonly #signal: AbortSignal
  #chunks: Uint8Array[] = []
  #bytes = 0
  #minBytes = minWriteBytes
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #failure: unknown

  constructor(growing: GrowingObject, size: number | undefined, signal: AbortSignal) {
    this.#growing = growing
    this.#size = size
    this.#signal = signal
  }

  async push(chunk: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes >= minWriteBytes) this.#startWrite()
    else this.#scheduleWrite()
    if (this.#bytes >= maxGatheredBytes) await this.#writing
  }

  async drain(): Promise<void> {
    this.#minBytes = 1
    this.#startWrite()
    while (this.#writing) await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  #scheduleWrite(): void {
    this.#timer ??= setTimeout(() => this.#startWrite(), coalesceMs)
  }

  #startWrite(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#bytes > 0 && this.#failure === undefined) this.#writing ??= this.#write()
  }

  async #write(): Promise<void> {
    try {
      do {
        const chunks = this.#chunks
        this.#chunks = []
        this.#bytes = 0
        await this.#growing.write(chunks, this.#signal)
        const { offset } = this.#growing
        this.#growing.release(this.#size === undefined ? offset - heldBackBytes : Math.min(offset, this.#size - heldBackBytes))
      } while (this.#bytes >= this.#minBytes)
      if (this.#bytes > 0) this.#scheduleWrite()
    } catch (error) {
      this.#failure = error
    } finally {
      this.#writing = undefined
    }
  }
}
