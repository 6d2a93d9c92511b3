import { createHash } from 'node:crypto'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { ownNames, ownPrefix } from '../layout.ts'
import type { RateLimiter } from '../rate-limiter.ts'
import { createSemaphore } from '../semaphore.ts'
import type {
  ByteRange,
  CreateOptions,
  Key,
  ObjectStat,
  OpenObject,
  Shortage,
  StagedWriter,
  Storage,
  Usage,
  WalkEntry,
  Writer
} from '../storage.ts'
import { Bucket, type BucketOptions, backoff } from './bucket.ts'
import { probeKey, S3ConditionalObjects } from './conditional-objects.ts'
import { copyObject, touchObject } from './copy.ts'
import { isTransient } from './error.ts'
import { hasObjects, listBelow, walkBelow } from './list.ts'
import { DirectUpload } from './multipart.ts'
import { S3Object } from './object.ts'
import { OpenObjects } from './open-objects.ts'
import { findParts, type StoredPart } from './parts.ts'
import { abortOrphans, removeObjects } from './remove.ts'
import { Spool } from './spool.ts'
import { S3Staged } from './staged.ts'
import { S3Usage } from './usage.ts'
import { S3Writer, type S3WriterContext } from './writer.ts'

/** Options of the storage in a bucket. */
export interface S3Options extends BucketOptions {
  /** A local directory in which bytes wait for the bucket. */
  spool: string
  /** Bytes that may wait there. */
  spoolBytes: number
  /** Size of the parts in which objects are sent, at least 5 MiB. */
  partBytes: number
  /** Bytes that the objects may take; absent: no limit. */
  budget?: number | undefined
  /** For how long an object that is being read can be opened again without a request. */
  openTtlMs: number
  /** Limits the bytes of objects that are created; `put` is exempt. */
  writeRate?: RateLimiter | undefined
  /** Called with what does not respond, and with nothing when all responds again. */
  onStallChange?: ((stalled: Usage['stalled']) => void) | undefined
}

// Of all writers.
const maxConcurrentParts = 16
// Probes of Kubernetes give up after 10 s.
const checkTimeoutMs = 8_000
const sweepIntervalMs = 6 * 3_600_000
const recountIntervalMs = 3_600_000

// Removed at the start to check the permission. Not the probe object: another process may be using that.
const absentKey = `${ownPrefix}/${ownNames.trialRemoval}`

/** Storage in a bucket, which other processes may use at the same time. */
export class S3Storage implements Storage {
  readonly sharing = 'shared'
  readonly stagingBytes: number
  readonly conditionalObjects: S3ConditionalObjects
  readonly #bucket: Bucket
  readonly #usage: S3Usage
  readonly #open: OpenObjects
  readonly #context: S3WriterContext
  readonly #writeRate: RateLimiter | undefined
  readonly #onStallChange: (stalled: Usage['stalled']) => void
  readonly #stopped = new AbortController()
  readonly #timers: NodeJS.Timeout[] = []
  #stalled = false

  private constructor(bucket: Bucket, spool: Spool, options: S3Options) {
    const { partBytes, budget, openTtlMs, writeRate, onStallChange, spoolBytes } = options
    this.stagingBytes = spoolBytes
    this.#bucket = bucket
    this.conditionalObjects = new S3ConditionalObjects(bucket)
    this.#usage = new S3Usage(budget)
    this.#open = new OpenObjects(bucket, openTtlMs)
    this.#writeRate = writeRate
    this.#onStallChange = onStallChange ?? (() => {})
    this.#context = {
      bucket,
      spool,
      partBytes,
      sendLimit: createSemaphore(maxConcurrentParts),
      remove: keys => this.remove(keys),
      onPublished: (key, bytes) => this.#published(key, bytes)
    }
  }

  /**
   * Rejects with an S3Error whose `permanent` is true if an operator has to correct something before the bucket can be
   * used. If the service does not respond, the storage is opened all the same, and `check` rejects until it does.
   */
  static async open(options: S3Options): Promise<S3Storage> {
    const spool = await Spool.open(options.spool, options.spoolBytes)
    const storage = new S3Storage(new Bucket(options), spool, options)
    try {
      await storage.#probe()
      await storage.checkWritable()
      await Promise.all([storage.get(probeKey), storage.remove([absentKey])])
    } catch (error) {
      if ((error as { permanent?: boolean }).permanent !== false) {
        await storage.close()
        throw error
      }
      storage.#setStalled(true)
    }
    storage.#schedule(sweepIntervalMs, () => abortOrphans(storage.#bucket, 'docker/'))
    if (options.budget !== undefined) storage.#schedule(recountIntervalMs, () => storage.recount(storage.#stopped.signal))
    return storage
  }

  #schedule(intervalMs: number, task: () => Promise<void>): void {
    // A failure is left to the next run.
    const run = () => void task().catch(() => {})
    run()
    this.#timers.push(setInterval(run, intervalMs).unref())
  }

  async close(): Promise<void> {
    this.#stopped.abort(new Error('the registry stops'))
    for (const timer of this.#timers) clearInterval(timer)
    this.#bucket.close()
  }

  /** Kinds of requests that the service does not respond to. */
  get stalled(): Usage['stalled'] {
    return this.#stalled ? ['reads', 'writes'] : []
  }

  now(): number {
    return this.#bucket.now()
  }

  /** Bytes that the objects may take from now on; undefined: no limit. */
  set budget(budget: number | undefined) {
    if (this.#usage.budget === undefined && budget !== undefined)
      this.#schedule(recountIntervalMs, () => this.recount(this.#stopped.signal))
    this.#usage.budget = budget
  }

  async open(key: Key, range?: ByteRange): Promise<OpenObject | undefined> {
    return this.#open.open(key, range)
  }

  // Gets a byte instead of HEAD, whose 404 does not say whether the object or the bucket is absent.
  async stat(key: Key): Promise<ObjectStat | undefined> {
    const object = await S3Object.open(this.#bucket, key, { first: 0, last: 0 })
    if (!object) return undefined
    await object.readInto(Buffer.alloc(1), 0)
    await object.close()
    return { key, size: object.size, modified: object.modified }
  }

  async get(key: Key, limit = 65_536): Promise<Buffer | undefined> {
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(key) }
    for (let attempt = 1; ; attempt++) {
      const found = await this.#bucket.findObject('GetObject', key, 'small', client => client.send(new GetObjectCommand(input)))
      if (!found?.Body) return undefined
      const { ContentLength = 0 } = found
      if (ContentLength > limit) {
        const body = found.Body as unknown as { destroy?: () => void }
        body.destroy?.()
        throw Object.assign(new Error(`${key} has ${ContentLength} bytes, at most ${limit} are expected`), { code: 'EFBIG' })
      }
      try {
        const bytes = Buffer.from(await found.Body.transformToByteArray())
        if (bytes.length === ContentLength) return bytes
        throw Object.assign(new Error('the body ended early'), { code: 'ECONNRESET' })
      } catch (error) {
        if (attempt === 3 || !isTransient(error)) throw this.#bucket.wrapError('GetObject', key, error)
        await backoff(attempt)
      }
    }
  }

  // `soon` is no cheaper than `durable`.
  async put(key: Key, bytes: Uint8Array): Promise<void> {
    // As for bytes from the spool: see send.ts.
    const ContentMD5 = createHash('md5').update(bytes).digest('base64')
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(key), Body: bytes, ContentMD5 }
    await this.#bucket.request('PutObject', key, 'small', client => client.send(new PutObjectCommand(input)))
    this.#published(key, bytes.length)
  }

  #published(key: Key, bytes: number): void {
    this.#open.forget([key])
    this.#usage.recordPublished(bytes)
  }

  // Prefixes exist only as parts of keys.
  async ensurePrefix(prefix: Key): Promise<void> {
    this.#bucket.key(prefix)
  }

  async create(key: Key, { earlier: before, publishTo: to }: CreateOptions = {}): Promise<Writer> {
    if (before === undefined) {
      const { parts, stale: others } = await findParts(this.#bucket, key)
      await this.remove([...parts.map(part => part.key), ...others])
    }
    this.#bucket.key(key)
    return this.#writer(key, [], to === undefined ? undefined : new DirectUpload(this.#bucket, to))
  }

  async resume(key: Key): Promise<Writer | undefined> {
    const { parts, stale: others } = await findParts(this.#bucket, key)
    // Parts behind a gap would belong to the object again once the gap is filled.
    await this.remove(others)
    return parts.length === 0 ? undefined : this.#writer(key, parts)
  }

  #writer(key: Key, parts: readonly StoredPart[], direct?: DirectUpload): Writer {
    return new S3Writer({ ...this.#context, share: this.#writeRate?.share() }, key, parts, direct)
  }

  async statUnfinished(key: Key): Promise<ObjectStat | undefined> {
    const { parts, modified } = await findParts(this.#bucket, key)
    const last = parts.at(-1)
    return last && { key, size: last.offset + last.size, modified }
  }

  async stage(to: Key, size = 0): Promise<StagedWriter> {
    this.#bucket.key(to)
    const { spool } = this.#context
    spool.reserve(size)
    try {
      return new S3Staged({ ...this.#context, share: this.#writeRate?.share() }, to, await spool.create(), size)
    } catch (error) {
      spool.release(size)
      throw error
    }
  }

  async move(from: Key, to: Key): Promise<boolean> {
    this.#bucket.key(to)
    const found = await this.stat(from)
    this.#open.forget([to])
    if (!found || !(await copyObject(this.#bucket, from, to, found.size))) return false
    await this.remove([from])
    return true
  }

  async *walk(prefix: Key, after = ''): AsyncIterable<WalkEntry> {
    yield* walkBelow(this.#bucket, prefix, after)
  }

  async *list(prefix: Key, after?: Key): AsyncIterable<ObjectStat> {
    yield* listBelow(this.#bucket, prefix, after)
  }

  async touch(keys: readonly Key[]): Promise<void> {
    await Promise.all(keys.map(key => touchObject(this.#bucket, key, async () => (await this.stat(key))?.size)))
  }

  async remove(keys: readonly Key[], under?: Key, signal?: AbortSignal): Promise<void> {
    if (under !== undefined) this.#bucket.key(under)
    // Before and after: a request made meanwhile may still find the object.
    this.#open.forget(keys)
    try {
      await removeObjects(this.#bucket, keys, signal)
    } finally {
      this.#open.forget(keys)
    }
  }

  async check(): Promise<void> {
    try {
      await this.#probe()
      this.#setStalled(false)
    } catch (error) {
      this.#setStalled(true)
      throw error
    }
  }

  async #probe(): Promise<void> {
    const timeout = Promise.withResolvers<never>()
    const error = Object.assign(new Error('the response timed out'), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => timeout.reject(this.#bucket.wrapError('ListObjectsV2', undefined, error)), checkTimeoutMs)
    try {
      await Promise.race([hasObjects(this.#bucket, ownPrefix), timeout.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  #setStalled(stalled: boolean): void {
    if (this.#stalled === stalled) return
    this.#stalled = stalled
    this.#onStallChange(this.stalled)
  }

  // Always the same object, so that probes leave one object at most.
  async checkWritable(): Promise<void> {
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(probeKey), Body: Buffer.alloc(1) }
    await this.#bucket.request('PutObject', probeKey, 'small', client => client.send(new PutObjectCommand(input)))
  }

  async locate(key: Key, seconds: number): Promise<string> {
    const command = new GetObjectCommand({ Bucket: this.#bucket.name, Key: this.#bucket.key(key) })
    const options = { expiresIn: seconds, signingDate: new Date(this.#bucket.now()) }
    return this.#bucket.request('presign', key, 'small', client => getSignedUrl(client, command, options))
  }

  async usage(): Promise<Usage> {
    return { ...this.#usage.usage(), stalled: this.stalled }
  }

  async shortage(bytes: number): Promise<Shortage | undefined> {
    return this.#usage.shortage(bytes)
  }

  recount(signal: AbortSignal): Promise<void> {
    return this.#usage.recount(async () => {
      const sum = { bytes: 0, objects: 0 }
      for await (const { size } of listBelow(this.#bucket)) {
        signal.throwIfAborted()
        sum.bytes += size
        sum.objects++
      }
      return sum
    })
  }
}
