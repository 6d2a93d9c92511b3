import { GetObjectCommand, type GetObjectCommandOutput, HeadObjectCommand } from '@aws-sdk/client-s3'
import { type Bucket, beforeTry } from './s3-bucket.ts'
import { mayPass, told } from './s3-error.ts'
import type { ByteRange, Key, OpenObject } from './storage.ts'
import { WireBody } from './wire-body.ts'

// A body that breaks is asked for again this many times before a byte comes.
const mostTries = 5

/** An object of which one body is read forward; a read elsewhere asks for another one, and one that breaks is gone on with. */
export class S3Object implements OpenObject {
  readonly size: number
  readonly modified: number
  readonly #bucket: Bucket
  readonly #key: Key
  #etag: string | undefined
  #body: Body | undefined
  #closed = false

  private constructor(bucket: Bucket, key: Key, found: { size: number; modified: number; etag: string | undefined }, body?: Body) {
    this.#bucket = bucket
    this.#key = key
    this.size = found.size
    this.modified = found.modified
    this.#etag = found.etag
    this.#body = body
  }

  /** One request; undefined if there is no such object. */
  static async open(bucket: Bucket, key: Key, range?: ByteRange): Promise<S3Object | undefined> {
    const Range = range && rangeOf(range)
    const input = { Bucket: bucket.name, Key: bucket.key(key), ...(Range === undefined ? {} : { Range }) }
    try {
      const found = await bucket.find('GetObject', key, 'body', client => client.send(new GetObjectCommand(input)))
      if (!found) return undefined
      const { first, size } = placeOf(found)
      return new S3Object(bucket, key, { size, modified: timeOf(found.LastModified), etag: found.ETag }, new Body(found, first))
    } catch (error) {
      if (told((error as Error).cause).status === 416) return S3Object.#unread(bucket, key)
      throw error
    }
  }

  // Nothing lies in the range; only the size is of interest.
  static async #unread(bucket: Bucket, key: Key): Promise<S3Object | undefined> {
    const input = { Bucket: bucket.name, Key: bucket.key(key) }
    const found = await bucket.find('HeadObject', key, 'question', client => client.send(new HeadObjectCommand(input)))
    return found && new S3Object(bucket, key, { size: found.ContentLength ?? 0, modified: timeOf(found.LastModified), etag: found.ETag })
  }

  async readInto(into: Buffer, position: number): Promise<number> {
    if (position >= this.size || into.length === 0) return 0
    const began = performance.now()
    for (let attempt = 1; ; attempt++) {
      try {
        const read = await (await this.#bodyAt(position)).readInto(into)
        if (read > 0) return read
        throw Object.assign(new Error('the body ended early'), { code: 'ECONNRESET' })
      } catch (error) {
        this.#body?.destroy()
        this.#body = undefined
        const { status } = told((error as Error).cause ?? error)
        if (status === 412 && attempt === 1) await this.#replaced(error)
        else if (this.#closed || attempt === mostTries || this.#late(began) || !mayPass((error as Error).cause ?? error))
          throw this.#bucket.error('GetObject', this.#key, error)
        await beforeTry(attempt)
      }
    }
  }

  // A connection that hangs may be one that nobody has any more; the next one may not hang as well.
  #late(began: number): boolean {
    const { resting, lastTry } = this.#bucket.times
    return performance.now() - began > Math.max(resting * 1.25, lastTry)
  }

  // Renewed by somebody, or put anew: under a digest the same bytes.
  async #replaced(cause: unknown): Promise<void> {
    const now = await S3Object.#unread(this.#bucket, this.#key)
    if (now?.size !== this.size) throw Object.assign(new Error(`${this.#key} was replaced while it was read`, { cause }), { code: 'EIO' })
    this.#etag = now.#etag
  }

  async #bodyAt(position: number): Promise<Body> {
    if (this.#closed) throw Object.assign(new Error(`${this.#key} is closed`), { code: 'EBADF' })
    if (this.#body?.position === position && !this.#body.over) return this.#body
    this.#body?.destroy()
    this.#body = undefined
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(this.#key), Range: `bytes=${position}-`, IfMatch: this.#etag }
    const found = await this.#bucket.ask('GetObject', this.#key, 'body', client => client.send(new GetObjectCommand(input)))
    const body = new Body(found, position)
    // Closed meanwhile: nobody would end it.
    if (this.#closed) body.destroy()
    this.#body = body
    return body
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#body?.destroy()
    this.#body = undefined
  }
}

// A response from `position` on.
class Body {
  position: number
  readonly #end: number
  readonly #wire: WireBody | undefined

  constructor({ Body: body, ContentLength = 0 }: GetObjectCommandOutput, position: number) {
    this.position = position
    this.#end = position + ContentLength
    // An empty one is no body on the wire.
    if (body instanceof WireBody) this.#wire = body
  }

  get over(): boolean {
    return this.position >= this.#end
  }

  /** Takes what is there, at least a byte; 0 if the body has ended. */
  async readInto(into: Buffer): Promise<number> {
    const read = (await this.#wire?.readInto(into)) ?? 0
    this.position += read
    return read
  }

  destroy(): void {
    this.#wire?.destroy()
  }
}

function rangeOf(range: ByteRange): string {
  if ('suffix' in range) return `bytes=-${range.suffix}`
  return `bytes=${range.first}-${range.last ?? ''}`
}

function placeOf({ ContentRange, ContentLength = 0 }: GetObjectCommandOutput): { first: number; size: number } {
  const [, first, size] = /^bytes ([0-9]+)-[0-9]+\/([0-9]+)$/.exec(ContentRange ?? '') ?? []
  return first === undefined ? { first: 0, size: ContentLength } : { first: Number(first), size: Number(size) }
}

/** In ms since the epoch, and whole seconds: heads tell no more, and a listing must not tell another time. */
export function timeOf(date: Date | undefined): number {
  return Math.floor((date?.getTime() ?? 0) / 1000) * 1000
}
