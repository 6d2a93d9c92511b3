import { algorithmOf, createDigester, type Digest, type Digester } from '../oci/digest.ts'
import { type RangeRequest, resolveRange } from '../oci/range.ts'
import type { Body, OpenBlob } from '../oci/source.ts'
import type { BlobDownload } from './blob.ts'

/** A stream of bytes from an upstream. */
export interface ByteStream {
  chunks: AsyncIterable<Uint8Array>
  cancel(): void
  /** Called if the bytes have another digest. */
  wrong?(): void
}

/**
 * A body that can only be read forward. With `digest` it is verified: the last chunk is held back until the digest of
 * all bytes matches, so that wrong bytes become a truncated body and never a complete one.
 */
export function streamBody(source: ByteStream, digest?: Digest): Body {
  return new StreamBody(source, digest)
}

/**
 * Opens a download as a blob. `start` is called with the range, and again without it if the upstream does not tell the
 * size.
 */
export async function openDownload(
  start: (range?: RangeRequest) => Promise<BlobDownload>,
  digest: Digest,
  range: RangeRequest | undefined
): Promise<OpenBlob> {
  const download = await start(range)
  if (!range || download.size !== undefined) return openBlobOf(download, digest, range)
  // Without a size there is no Content-Range: the whole blob is sent, as RFC 9110 §14.2 allows.
  download.cancel()
  return openBlobOf(await start(), digest, undefined)
}

function openBlobOf(download: BlobDownload, digest: Digest, range: RangeRequest | undefined): OpenBlob {
  const { size } = download
  if (size === undefined) return { size, part: { offset: 0, length: Number.POSITIVE_INFINITY }, body: streamBody(download, digest) }
  const part = range ? resolveRange(range, size) : { offset: 0, length: size }
  return { size, part, body: streamBody(download, part?.length === size ? digest : undefined) }
}

class StreamBody implements Body {
  readonly #source: ByteStream
  readonly #chunks: AsyncIterator<Uint8Array>
  readonly #digest: Digest | undefined
  readonly #digester: Digester | undefined
  #current: Uint8Array | undefined
  #next: Uint8Array | undefined
  #ended = false

  constructor(source: ByteStream, digest: Digest | undefined) {
    this.#source = source
    this.#chunks = source.chunks[Symbol.asyncIterator]()
    this.#digest = digest
    this.#digester = digest && createDigester(algorithmOf(digest))
  }

  async readInto(into: Buffer): Promise<number> {
    if (!this.#current || this.#current.length === 0) this.#current = await this.#advance()
    if (!this.#current) return 0
    const length = Math.min(into.length, this.#current.length)
    into.set(this.#current.subarray(0, length))
    this.#current = this.#current.subarray(length)
    return length
  }

  async #advance(): Promise<Uint8Array | undefined> {
    if (!this.#digester) return this.#pull()
    this.#next ??= await this.#pull()
    const held = this.#next
    if (held) this.#next = await this.#pull()
    return held
  }

  async #pull(): Promise<Uint8Array | undefined> {
    while (!this.#ended) {
      const { value, done } = await this.#chunks.next()
      if (done) this.#end()
      else if (value.length > 0) {
        this.#digester?.update(value)
        return value
      }
    }
    return undefined
  }

  #end(): void {
    this.#ended = true
    const actual = this.#digester?.digest()
    if (actual === this.#digest) return
    this.#source.wrong?.()
    throw new Error(`upstream sent bytes of ${actual} for ${this.#digest}`)
  }

  async close(): Promise<void> {
    this.#ended = true
    this.#source.cancel()
    // Ends the generator of the source, which would otherwise stay suspended for ever.
    void this.#chunks.return?.().catch(() => {})
  }
}
