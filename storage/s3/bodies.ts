import { GetObjectCommand, type GetObjectCommandOutput, HeadObjectCommand } from '@aws-sdk/client-s3'
import type { ByteRange, Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { describeError } from './error.ts'
import { type DirectBody, isDirectBody } from './request-handler.ts'

/** The bodies of one object that are on their way. Whoever reads on where one of them stands takes it, whoever asked for it: those who keep together need one for all. */
export class ObjectBodies {
  readonly key: Key
  readonly size: number
  readonly modified: number
  /** Those who read the object; the last one to leave ends what is left. */
  readers = 0
  readonly #bucket: Bucket
  readonly #open = new Set<ObjectBody>()
  #etag: string | undefined
  readonly #first: string

  /** Whoever has the same one has the same bytes. */
  get identity(): string {
    return `${this.key} ${this.#first}`
  }

  private constructor(bucket: Bucket, key: Key, found: { size: number; modified: number; etag: string | undefined }) {
    this.#bucket = bucket
    this.key = key
    this.size = found.size
    this.modified = found.modified
    this.#etag = found.etag
    this.#first = `${found.etag} ${found.size}`
  }

  /** One request; undefined if there is no such object. */
  static async open(bucket: Bucket, key: Key, range?: ByteRange): Promise<ObjectBodies | undefined> {
    const Range = range && rangeOf(range)
    const input = { Bucket: bucket.name, Key: bucket.key(key), ...(Range === undefined ? {} : { Range }) }
    try {
      const found = await bucket.find('GetObject', key, 'body', client => client.send(new GetObjectCommand(input)))
      if (!found) return undefined
      const { first, size } = placeOf(found)
      const bodies = new ObjectBodies(bucket, key, { size, modified: modifiedMs(found.LastModified), etag: found.ETag })
      bodies.#open.add(new ObjectBody(found, first))
      return bodies
    } catch (error) {
      if (describeError((error as Error).cause).status === 416) return ObjectBodies.#unread(bucket, key)
      throw error
    }
  }

  // Nothing lies in the range; only the size is of interest.
  static async #unread(bucket: Bucket, key: Key): Promise<ObjectBodies | undefined> {
    const input = { Bucket: bucket.name, Key: bucket.key(key) }
    const found = await bucket.find('HeadObject', key, 'question', client => client.send(new HeadObjectCommand(input)))
    return (
      found && new ObjectBodies(bucket, key, { size: found.ContentLength ?? 0, modified: modifiedMs(found.LastModified), etag: found.ETag })
    )
  }

  /** One that stands at `position` and is read by nobody at the moment, else a new one; whoever asks reads it, and lets go of it at some time. */
  async bodyAt(position: number): Promise<ObjectBody> {
    for (const body of this.#open) if (body.position === position && !body.busy && !body.ended) return body.acquire()
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(this.key), Range: `bytes=${position}-`, IfMatch: this.#etag }
    const found = await this.#bucket.request('GetObject', this.key, 'body', client => client.send(new GetObjectCommand(input)))
    const body = new ObjectBody(found, position)
    this.#open.add(body)
    return body.acquire()
  }

  /** It is not read on by whoever held it; when nobody holds it any more it ends. */
  release(body: ObjectBody): void {
    if (body.release() === 0) this.drop(body)
  }

  /** It broke, or nobody wants it. */
  drop(body: ObjectBody): void {
    this.#open.delete(body)
    body.destroy()
  }

  /** The object was renewed by somebody, or put anew: under a digest the same bytes. Rejects if it cannot be the same. */
  async revalidate(cause: unknown): Promise<void> {
    const now = await ObjectBodies.#unread(this.#bucket, this.key)
    if (now?.size !== this.size) throw Object.assign(new Error(`${this.key} was replaced while it was read`, { cause }), { code: 'EIO' })
    this.#etag = now.#etag
  }

  /** Ends all of them. */
  destroy(): void {
    for (const body of this.#open) this.drop(body)
  }
}

/** A response from `position` on. */
export class ObjectBody {
  position: number
  /** Somebody reads it at the moment. */
  busy = false
  readonly #end: number
  readonly #body: DirectBody | undefined
  #holders = 0
  #broken = false

  constructor({ Body: body, ContentLength = 0 }: GetObjectCommandOutput, position: number) {
    this.position = position
    this.#end = position + ContentLength
    // The body of an empty object is not on the connection.
    if (isDirectBody(body)) this.#body = body
  }

  get ended(): boolean {
    return this.#broken || this.position >= this.#end
  }

  /** It is going to be read. */
  acquire(): this {
    this.#holders++
    this.busy = true
    return this
  }

  release(): number {
    return --this.#holders
  }

  /** Takes what is there, at least a byte; 0 if the body has ended. */
  async readInto(into: Buffer): Promise<number> {
    this.busy = true
    try {
      const read = (await this.#body?.readInto(into)) ?? 0
      this.position += read
      return read
    } finally {
      this.busy = false
    }
  }

  destroy(): void {
    this.#broken = true
    this.#body?.destroy()
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
export function modifiedMs(date: Date | undefined): number {
  return Math.floor((date?.getTime() ?? 0) / 1000) * 1000
}
