import { GrowingObject } from '../../../storage/growing-object.ts'
import type { Storage } from '../../../storage/storage.ts'
import { algorithmOf, createDigester, type Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Body } from '../../oci/source.ts'
import { forEachChunk } from '../chunks.ts'
import type { Commit } from '../commit.ts'
import { blob as blobKey } from '../keys.ts'
import { GrowingWriter } from './growing-writer.ts'

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
   * Resolves when there can be capacity for a fill of this size, if it is declared, and promises it until the fill
   * ends. Rejects with `EDQUOT` if there cannot.
   */
  admit(fill: Fill, size: number | undefined): Promise<void>
  /** Resolves when there is capacity for the bytes before `end`; undefined if there is. Rejects with `EDQUOT`. */
  secure(fill: Fill, end: number): Promise<void> | undefined
  onEnd(fill: Fill, result: FillResult, error?: Error): void
}

/**
 * One download of a blob, for all clients that request it. It belongs to the process, not to a request: a client that
 * disconnects does not stop it. A range that ends before the held-back bytes is answered before the digest is verified.
 */
export class Fill {
  readonly digest: Digest
  /** The upstream that the bytes come from, for the provenance record. */
  readonly upstream: string
  /** The key of the upstream in whose share of the cache it lies. */
  readonly share: string
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
    { digest, name, upstream, share, now }: { digest: Digest; name: Name; upstream: string; share: string; now: number },
    open: (signal: AbortSignal) => Promise<FillSource>
  ) {
    this.#context = context
    this.digest = digest
    this.upstream = upstream
    this.share = share
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
    await admit(this, size)
    return GrowingObject.create(storage, blobKey(this.digest), size)
  }

  async #fill(growing: GrowingObject, source: FillSource): Promise<FillResult> {
    const digester = createDigester(algorithmOf(this.digest))
    const pump = new GrowingWriter(growing, {
      size: source.size,
      secure: end => this.#context.secure(this, end),
      signal: this.#stop.signal
    })
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
