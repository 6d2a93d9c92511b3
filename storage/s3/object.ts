import type { ByteRange, Key, OpenObject } from '../storage.ts'
import { ObjectBodies, type ObjectBody } from './bodies.ts'
import { type Bucket, backoff } from './bucket.ts'
import { describeError, isTransient } from './error.ts'

// Attempts to read one piece, each with another body after the first broke.
const maxAttempts = 5

/** An object that is read forward. A read elsewhere requests another body, and so does one whose body breaks. */
export class S3Object implements OpenObject {
  readonly identity: string
  readonly #bucket: Bucket
  readonly #bodies: ObjectBodies
  readonly #onEnd: () => void
  #body: ObjectBody | undefined
  #closed = false

  /** A reader of `bodies`; `onEnd` is called when the last reader is closed. */
  constructor(bucket: Bucket, bodies: ObjectBodies, onEnd: () => void = () => {}) {
    this.#bucket = bucket
    this.#bodies = bodies
    this.#onEnd = onEnd
    this.identity = bodies.identity
    bodies.readers++
  }

  /** Makes one request; undefined if there is no such object. */
  static async open(bucket: Bucket, key: Key, range?: ByteRange): Promise<S3Object | undefined> {
    const bodies = await ObjectBodies.open(bucket, key, range)
    return bodies && new S3Object(bucket, bodies)
  }

  get size(): number {
    return this.#bodies.size
  }

  get modified(): number {
    return this.#bodies.modified
  }

  async readInto(into: Buffer, position: number): Promise<number> {
    if (position >= this.size || into.length === 0) return 0
    const startedAt = performance.now()
    for (let attempt = 1; ; attempt++) {
      try {
        const read = await (await this.#bodyAt(position)).readInto(into)
        if (read > 0) return read
        throw Object.assign(new Error('the body ended early'), { code: 'ECONNRESET' })
      } catch (error) {
        if (this.#body) this.#bodies.drop(this.#body)
        this.#body = undefined
        const { status } = describeError((error as Error).cause ?? error)
        if (status === 412 && attempt === 1) await this.#bodies.revalidate(error)
        else if (this.#closed || attempt === maxAttempts || this.#timedOut(startedAt) || !isTransient((error as Error).cause ?? error))
          throw this.#bucket.wrapError('GetObject', this.#bodies.key, error)
        await backoff(attempt)
      }
    }
  }

  // A connection that was lost without notice costs `bodyIdleMs`: after it there is time for one other attempt.
  #timedOut(startedAt: number): boolean {
    const { bodyIdleMs: resting, retryWindowMs: lastTry } = this.#bucket.timeouts
    return performance.now() - startedAt > Math.max(resting * 1.25, lastTry)
  }

  async #bodyAt(position: number): Promise<ObjectBody> {
    if (this.#closed) throw Object.assign(new Error(`${this.#bodies.key} is closed`), { code: 'EBADF' })
    if (this.#body?.position === position && !this.#body.busy && !this.#body.ended) return this.#body
    this.#releaseBody()
    const body = await this.#bodies.bodyAt(position)
    this.#body = body
    // Closed meanwhile: no later call would release it.
    if (this.#closed) this.#releaseBody()
    return body
  }

  #releaseBody(): void {
    if (this.#body) this.#bodies.release(this.#body)
    this.#body = undefined
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#releaseBody()
    if (--this.#bodies.readers > 0) return
    this.#bodies.destroy()
    this.#onEnd()
  }
}
