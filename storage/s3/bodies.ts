import { GetObjectCommand, type GetObjectCommandOutput, HeadObjectCommand } from '@aws-sdk/client-s3'
import type { ByteRange, Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { describeError } from './error.ts'
import { type DirectBody, isDirectBody } from './request-handler.ts'

/**
 * The open response bodies of one object, shared by its readers: a reader takes any idle body that is at its position,
 * whichever reader it was requested for. Readers that advance together need one body for all.
 */
export class ObjectBodies {
  readonly key: Key
  readonly size: number
  readonly modified: number
  /** Number of readers; the last one destroys this. */
  readers = 0
  readonly #bucket: Bucket
  readonly #bodies = new Set<ObjectBody>()
  #etag: string | undefined
  readonly #version: string

  /** Objects with the same identity have the same bytes. */
  get identity(): string {
    return `${this.key} ${this.#version}`
  }

  private constructor(bucket: Bucket, key: Key, found: { size: number; modified: number; etag: string | undefined }) {
    this.#bucket = bucket
    this.key = key
    this.size = found.size
    this.modified = found.modified
    this.#etag = found.etag
    this.#version = `${found.etag} ${found.size}`
  }

  /** Makes one request; undefined if there is no such object. */
  static async open(bucket: Bucket, key: Key, range?: ByteRange): Promise<ObjectBodies | undefined> {
    const Range = range && rangeOf(range)
    const input = { Bucket: bucket.name, Key: bucket.key(key), ...(Range === undefined ? {} : { Range }) }
    try {
      const found = await bucket.findObject('GetObject', key, 'body', client => client.send(new GetObjectCommand(input)))
      if (!found) return undefined
      const { first, size } = contentRangeOf(found)
      const bodies = new ObjectBodies(bucket, key, { size, modified: modifiedMs(found.LastModified), etag: found.ETag })
      bodies.#bodies.add(new ObjectBody(found, first))
      return bodies
    } catch (error) {
      if (describeError((error as Error).cause).status === 416) return ObjectBodies.#head(bucket, key)
      throw error
    }
  }

  // For size, time and ETag alone, e.g. where no byte lies in the range.
  static async #head(bucket: Bucket, key: Key): Promise<ObjectBodies | undefined> {
    const input = { Bucket: bucket.name, Key: bucket.key(key) }
    const found = await bucket.findObject('HeadObject', key, 'small', client => client.send(new HeadObjectCommand(input)))
    return (
      found && new ObjectBodies(bucket, key, { size: found.ContentLength ?? 0, modified: modifiedMs(found.LastModified), etag: found.ETag })
    )
  }

  /** An idle body at `position`, else a new one. The caller reads it and releases it. */
  async bodyAt(position: number): Promise<ObjectBody> {
    for (const body of this.#bodies) if (body.position === position && !body.busy && !body.ended) return body.acquire()
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(this.key), Range: `bytes=${position}-`, IfMatch: this.#etag }
    const found = await this.#bucket.request('GetObject', this.key, 'body', client => client.send(new GetObjectCommand(input)))
    const body = new ObjectBody(found, position)
    this.#bodies.add(body)
    return body.acquire()
  }

  /** Gives a body back; it is destroyed when no reader has it any more. */
  release(body: ObjectBody): void {
    if (body.release() === 0) this.drop(body)
  }

  /** Destroys a body that broke or has no reader. */
  drop(body: ObjectBody): void {
    this.#bodies.delete(body)
    body.destroy()
  }

  /**
   * Call after 412: the object was touched or put again, under a digest with the same bytes. Takes the new ETag;
   * rejects with `EIO` if the size differs.
   */
  async revalidate(cause: unknown): Promise<void> {
    const current = await ObjectBodies.#head(this.#bucket, this.key)
    if (current?.size !== this.size)
      throw Object.assign(new Error(`${this.key} was replaced while it was read`, { cause }), { code: 'EIO' })
    this.#etag = current.#etag
  }

  /** Destroys all bodies. */
  destroy(): void {
    for (const body of this.#bodies) this.drop(body)
  }
}

/** A response body; `position` is that of its next byte in the object. */
export class ObjectBody {
  position: number
  /** Whether a read is pending or about to start. */
  busy = false
  readonly #end: number
  readonly #body: DirectBody | undefined
  #readers = 0
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

  /** Adds a reader, which is about to read. */
  acquire(): this {
    this.#readers++
    this.busy = true
    return this
  }

  /** Removes a reader; returns how many are left. */
  release(): number {
    return --this.#readers
  }

  /** Reads at least a byte; 0 if the body has ended. */
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

function contentRangeOf({ ContentRange, ContentLength = 0 }: GetObjectCommandOutput): { first: number; size: number } {
  const [, first, size] = /^bytes ([0-9]+)-[0-9]+\/([0-9]+)$/.exec(ContentRange ?? '') ?? []
  return first === undefined ? { first: 0, size: ContentLength } : { first: Number(first), size: Number(size) }
}

/** Ms since the epoch in whole seconds: `Last-Modified` has no more, and listings must not differ from it. */
export function modifiedMs(date: Date | undefined): number {
  return Math.floor((date?.getTime() ?? 0) / 1000) * 1000
}
