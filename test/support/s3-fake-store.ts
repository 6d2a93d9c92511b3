import { createHash, randomUUID } from 'node:crypto'
import {
  createReadStream,
  createWriteStream,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  unlinkSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/** A refusal with S3's status and error code. */
export class Refusal extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string) {
    super(code)
    this.status = status
    this.code = code
  }
}

/** Bytes that were received and are not an object yet, in a file. */
export interface Received {
  path: string
  size: number
  md5: Buffer
  sha256: string
}

/** A conditional put. */
export interface PutCondition {
  ifMatch?: string | undefined
  ifNoneMatch?: string | undefined
}

/** An object that is open. */
export interface FakeObject {
  fd: number
  size: number
  modified: Date
  etag: string
}

/** An entry of a listing: an object or, with a delimiter, a common prefix. */
export type Listed = { key: string; size: number; modified: Date; etag: string } | { prefix: string }

/** A multipart upload under way. */
export interface FakeUpload {
  bucket: string
  key: string
  initiated: Date
  parts: Map<number, Received>
}

/** Options of a listing: keys after `after`, without those that begin with `skip`. */
export interface ListOptions {
  prefix: string
  delimiter: boolean
  after: string
  skip: string
}

/**
 * Buckets as directories and objects as files, which tests read, age and remove. Changes are synchronous, so that
 * checking a condition and the change are one step.
 */
export class FakeStore {
  readonly #root: string
  readonly #incoming: string
  /** By path; valid while inode and size are the same. */
  readonly #etags = new Map<string, { ino: number; size: number; etag: string }>()
  readonly uploads = new Map<string, FakeUpload>()

  /** `incoming` is for files that are being received, on the same filesystem. */
  constructor(root: string, incoming: string) {
    this.#root = root
    this.#incoming = incoming
  }

  /** Throws where there is no such bucket. */
  demandBucket(bucket: string): void {
    if (!existsSync(join(this.#root, bucket))) throw new Refusal(404, 'NoSuchBucket')
  }

  createBucket(bucket: string): void {
    mkdirSync(join(this.#root, bucket))
  }

  #pathOf(bucket: string, key: string): string {
    if (key.includes('\0') || key.split('/').some(part => part === '' || part === '.' || part === '..'))
      throw new Refusal(400, 'InvalidArgument')
    return join(this.#root, bucket, key)
  }

  /** Receives a body; a truncated one leaves nothing. */
  async receive(body: Readable): Promise<Received> {
    const path = join(this.#incoming, randomUUID())
    const [md5, sha256] = [createHash('md5'), createHash('sha256')]
    try {
      await pipeline(
        body,
        async function* (chunks: AsyncIterable<Buffer>) {
          for await (const chunk of chunks) {
            md5.update(chunk)
            sha256.update(chunk)
            yield chunk
          }
        },
        createWriteStream(path)
      )
    } catch (error) {
      rmSync(path, { force: true })
      throw error
    }
    return { path, size: statSync(path).size, md5: md5.digest(), sha256: sha256.digest('hex') }
  }

  drop({ path }: Received): void {
    rmSync(path, { force: true })
  }

  /** Stores an object and returns its ETag; throws where the condition does not hold. */
  publish(bucket: string, key: string, received: Received, { ifMatch, ifNoneMatch }: PutCondition = {}): string {
    const path = this.#pathOf(bucket, key)
    try {
      if (ifMatch !== undefined || ifNoneMatch !== undefined) {
        const etag = this.#etagAt(path)
        if (ifNoneMatch === '*' && etag !== undefined) throw new Refusal(412, 'PreconditionFailed')
        if (ifMatch !== undefined && etag === undefined) throw new Refusal(404, 'NoSuchKey')
        if (ifMatch !== undefined && ifMatch !== etag) throw new Refusal(412, 'PreconditionFailed')
      }
      mkdirSync(dirname(path), { recursive: true })
      renameSync(received.path, path)
    } catch (error) {
      this.drop(received)
      const { code } = error as NodeJS.ErrnoException
      throw code === 'ENAMETOOLONG' ? new Refusal(400, 'KeyTooLongError') : error
    }
    const { ino, size } = statSync(path)
    const etag = `"${received.md5.toString('hex')}"`
    this.#etags.set(path, { ino, size, etag })
    return etag
  }

  #etagAt(path: string): string | undefined {
    const stats = statAt(path)
    return stats && this.#etagOf(path, stats)
  }

  #etagOf(path: string, { ino, size }: Stats): string {
    const known = this.#etags.get(path)
    if (known?.ino === ino && known.size === size) return known.etag
    const etag = `"${createHash('md5').update(readFileSync(path)).digest('hex')}"`
    this.#etags.set(path, { ino, size, etag })
    return etag
  }

  /** The caller closes `fd`. */
  open(bucket: string, key: string): FakeObject {
    const path = this.#pathOf(bucket, key)
    if (!statAt(path)) throw new Refusal(404, 'NoSuchKey')
    const fd = openSync(path, 'r')
    const stats = fstatSync(fd)
    return { fd, size: stats.size, modified: stats.mtime, etag: this.#etagOf(path, stats) }
  }

  /** Copies an object, or its bytes from `first` to `last`, as if they had been received. */
  async copy(bucket: string, key: string, range?: { first: number; last: number }): Promise<Received> {
    const { fd } = this.open(bucket, key)
    return this.receive(createReadStream('', { fd, ...(range ? { start: range.first, end: range.last } : {}) }))
  }

  /** Removes an object and directories that become empty; an absent object is ignored. */
  remove(bucket: string, key: string): void {
    const path = this.#pathOf(bucket, key)
    if (!statAt(path)) return
    unlinkSync(path)
    this.#etags.delete(path)
    const top = join(this.#root, bucket)
    try {
      for (let folder = dirname(path); folder !== top; folder = dirname(folder)) rmdirSync(folder)
    } catch {
      // Not empty.
    }
  }

  /** Joins the parts of an upload to an object. */
  async complete(id: string, numbers: readonly number[], condition: PutCondition): Promise<string> {
    const upload = this.upload(id)
    const parts = numbers.map(number => upload.parts.get(number))
    if (parts.length === 0 || parts.includes(undefined)) throw new Refusal(400, 'InvalidPart')
    const whole = await this.receive(concatenated(parts.map(each => each?.path ?? '')))
    const etag = this.publish(upload.bucket, upload.key, whole, condition)
    this.abort(id)
    return etag
  }

  upload(id: string): FakeUpload {
    const upload = this.uploads.get(id)
    if (!upload) throw new Refusal(404, 'NoSuchUpload')
    return upload
  }

  abort(id: string): void {
    for (const part of this.upload(id).parts.values()) this.drop(part)
    this.uploads.delete(id)
  }

  /** In the order of whole keys. */
  *list(bucket: string, options: ListOptions): Generator<Listed> {
    const folder = options.prefix.slice(0, options.prefix.lastIndexOf('/') + 1)
    yield* this.#listFolder(bucket, folder, options)
  }

  *#listFolder(bucket: string, folder: string, options: ListOptions): Generator<Listed> {
    const { prefix, delimiter, after, skip } = options
    for (const name of namesIn(join(this.#root, bucket, folder))) {
      const key = folder + name
      if (!key.startsWith(prefix) || (skip !== '' && key.startsWith(skip))) continue
      if (key <= after && !(name.endsWith('/') && after.startsWith(key))) continue
      if (!name.endsWith('/')) {
        const path = join(this.#root, bucket, key)
        const stats = statAt(path)
        if (stats) yield { key, size: stats.size, modified: stats.mtime, etag: this.#etagOf(path, stats) }
        continue
      }
      const [first] = this.#listFolder(bucket, key, { ...options, prefix: key, delimiter: false })
      if (delimiter && first) yield { prefix: key }
      if (!delimiter) yield* this.#listFolder(bucket, key, { ...options, prefix: key })
    }
  }
}

// With a slash behind those of directories, which is how their keys are ordered.
function namesIn(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true })
    return entries.map(each => (each.isDirectory() ? `${each.name}/` : each.name)).sort((a, b) => (a < b ? -1 : 1))
  } catch {
    return []
  }
}

// Undefined where there is no file.
function statAt(path: string): Stats | undefined {
  try {
    const stats = statSync(path)
    return stats.isFile() ? stats : undefined
  } catch {
    return undefined
  }
}

function concatenated(paths: readonly string[]): Readable {
  const bytes = async function* () {
    for (const path of paths) yield* createReadStream(path)
  }
  return Readable.from(bytes(), { objectMode: false })
}
