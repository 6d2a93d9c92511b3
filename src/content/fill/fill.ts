import { GrowingObject } from '../../../storage/growing-object.ts'
import type { Storage } from '../../../storage/storage.ts'
import { algorithmOf, createDigester, type Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Body } from '../../oci/source.ts'
import { forEachChunk } from '../chunks.ts'
import type { Commit } from '../commit.ts'
import { blob as blobKey } from '../keys.ts'

/** A blob on its way from somewhere else. */
export interface FillSource {
  /** Of the whole blob, where the source said. */
  size?: number
  /** From the first byte, in order; throws if it breaks. */
  chunks: AsyncIterable<Uint8Array>
  cancel(): void
}

/** How a fill ended: `stored`, wrong bytes, a source that broke, a medium that did not take them, or a store in which they had no room. */
export type FillResult = 'stored' | 'wrong' | 'broken' | 'medium' | 'full'

/** What the fills of one process share. */
export interface FillContext {
  storage: Storage
  commit: Commit
  /** Resolves when there is room for a fill of this size, which is kept until it ends; rejects with the code `EDQUOT` if there is none. */
  admit(fill: Fill, size: number): Promise<void>
  ended(fill: Fill, result: FillResult, error?: Error): void
}

// Readers get no more than this before the digest is known: a wrong blob becomes a response that ends short, never a complete lie.
const heldBack = 4096
// Written in one piece at most; what arrives while a write is under way is gathered for the next.
const gathered = 1024 * 1024
// Less than this is written only if no more comes for `company` ms.
const worthwhile = 256 * 1024
const company = 5

/**
 * One download of a blob for all who want it. It belongs to the process and not to a request: a client that leaves does not stop it. A range that ends before the last
 * bytes is answered before the digest is known.
 */
export class Fill {
  readonly digest: Digest
  /** The upstream that the bytes come from, for the mark of origin. */
  readonly upstream: string
  readonly began: number
  /** Resolves when the source has answered, with the size if it said one; rejects with its error. */
  readonly opened: Promise<number | undefined>
  /** Resolves when the blob can be opened from the store, or the fill has failed; never rejects. */
  readonly done: Promise<FillResult>
  readonly #context: FillContext
  readonly #names: Set<Name>
  readonly #stop = new AbortController()
  readonly #open = Promise.withResolvers<number | undefined>()
  #growing: GrowingObject | undefined
  #size: number | undefined

  /** Starts at once; there is no `await` between looking for a fill and this. */
  constructor(
    place: FillContext,
    { digest, name, upstream, now }: { digest: Digest; name: Name; upstream: string; now: number },
    open: (signal: AbortSignal) => Promise<FillSource>
  ) {
    this.#context = place
    this.digest = digest
    this.upstream = upstream
    this.began = now
    this.#names = new Set([name])
    this.opened = this.#open.promise
    this.opened.catch(() => {})
    this.done = this.#run(open)
  }

  /** Whether `name` may read what is filled. */
  allows(name: Name): boolean {
    return this.#names.has(name)
  }

  /** The source let `name` read the blob as well: it is linked there too at the end. */
  allow(name: Name): void {
    this.#names.add(name)
  }

  /** Bytes that are on disk. */
  get offset(): number {
    return this.#growing?.offset ?? 0
  }

  get size(): number | undefined {
    return this.#size
  }

  /** Reads what is filled, waiting for what is not there yet. After `opened` has resolved. */
  reader(signal: AbortSignal): Body {
    if (!this.#growing) throw new Error('the fill is not open')
    return this.#growing.reader(signal)
  }

  /** Ends it; its readers fail. */
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
    // Out of the map first: whoever comes now finds the stored blob, or starts anew.
    this.#context.ended(this, result, failure)
    if (failure) {
      source?.cancel()
      this.#open.reject(failure)
      this.#growing?.fail(failure)
      await this.#growing?.writer.discard().catch(() => {})
    }
    await this.#growing?.end().catch(() => {})
    return result
  }

  // Asked beforehand: what fits nowhere would fill the disk and fail in the middle of everybody's answer.
  async #create(size: number | undefined): Promise<GrowingObject> {
    const { storage, admit } = this.#context
    if (size !== undefined) await admit(this, size)
    return GrowingObject.create(storage, blobKey(this.digest), size)
  }

  async #fill(growing: GrowingObject, source: FillSource): Promise<FillResult> {
    const digester = createDigester(algorithmOf(this.digest))
    const pump = new Pump(growing, source.size, this.#stop.signal)
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

/** What the source sent is not what was asked for. */
export class WrongBytesError extends Error {
  constructor(digest: Digest, actual: Digest, size: number) {
    super(`asked for ${digest}, got ${size} bytes of ${actual}`)
    this.name = 'WrongBytesError'
  }
}

// Errors of the source, told apart from those of the disk.
class SourceError extends Error {
  constructor(cause: unknown) {
    super('the source broke', { cause })
  }
}

const sourceError = (error: unknown): Error => new SourceError(error)

// One write under way, the next being gathered; each is released to the readers when it is on the file. Each write wakes all of them, so small ones wait for company.
class Pump {
  readonly #growing: GrowingObject
  readonly #size: number | undefined
  readonly #signal: AbortSignal
  #chunks: Uint8Array[] = []
  #bytes = 0
  #least = worthwhile
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
    if (this.#bytes >= worthwhile) this.#begin()
    else this.#soon()
    if (this.#bytes >= gathered) await this.#writing
  }

  async drain(): Promise<void> {
    this.#least = 1
    this.#begin()
    while (this.#writing) await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => this.#begin(), company)
  }

  #begin(): void {
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
        this.#growing.release(this.#size === undefined ? offset - heldBack : Math.min(offset, this.#size - heldBack))
      } while (this.#bytes >= this.#least)
      if (this.#bytes > 0) this.#soon()
    } catch (error) {
      this.#failure = error
    } finally {
      this.#writing = undefined
    }
  }
}
