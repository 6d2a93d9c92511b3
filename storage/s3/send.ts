import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand
} from '@aws-sdk/client-s3'
import { createSemaphore } from '../semaphore.ts'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { describeError } from './error.ts'
import type { SpoolFile } from './spool.ts'

/** What the service takes: every part but the last has at least so many bytes, and there are at most so many parts. */
export const minPartBytes = 5 * 1024 * 1024
export const maxParts = 10_000
// What one request copies at most.
export const maxCopyBytes = 5 * 1024 ** 3
// Without progress for so long a sending hangs, in ms.
const stallTimeoutMs = 60_000
const maxConcurrentCopies = 8
// For what is not wanted any more, in ms.
const abortGraceMs = 2_000
const copyPartBytes = 1024 ** 3

/** Bytes of a spool file: from `start` up to `end`, which is not among them. */
export interface Span {
  file: SpoolFile
  start: number
  end: number
}

/** An object of its own, in one request. */
export async function putObject(bucket: Bucket, key: Key, span: Span, signal?: AbortSignal): Promise<void> {
  const ContentMD5 = await checksumOf(span)
  await bucket.upload('PutObject', key, signal, client =>
    withStallTimeout(span, signal, (Body, abortSignal) =>
      client.send(
        new PutObjectCommand({ Bucket: bucket.name, Key: bucket.key(key), Body, ContentLength: span.end - span.start, ContentMD5 }),
        { abortSignal }
      )
    )
  )
}

// There are services that keep what came of a request whose sender died, and call it the object.
async function checksumOf({ file, start, end }: Span): Promise<string> {
  const hash = createHash('md5')
  if (end > start) for await (const chunk of file.stream(start, end)) hash.update(chunk)
  return hash.digest('base64')
}

// A stream that is not read any more, and an answer that does not come, end the try.
async function withStallTimeout<T>(
  { file, start, end }: Span,
  signal: AbortSignal | undefined,
  send: (body: Readable, signal: AbortSignal) => Promise<T>
): Promise<T> {
  const body = end > start ? file.stream(start, end) : Readable.from([])
  const hangs = new AbortController()
  const timer = setTimeout(() => hangs.abort(), stallTimeoutMs)
  const failed = Promise.withResolvers<never>()
  body.on('data', () => void timer.refresh())
  body.pause()
  // What the spool cannot give would leave the request waiting.
  body.once('error', failed.reject)
  try {
    return await Promise.race([send(body, signal ? AbortSignal.any([hangs.signal, signal]) : hangs.signal), failed.promise])
  } catch (error) {
    if (hangs.signal.aborted) throw Object.assign(new Error('nothing was taken for a minute', { cause: error }), { code: 'ETIMEDOUT' })
    throw error
  } finally {
    clearTimeout(timer)
    body.destroy()
  }
}

/** A multipart upload: nothing of it is visible before it is completed. */
export class MultipartUpload {
  readonly #bucket: Bucket
  readonly #key: Key
  readonly #id: string
  readonly #parts = new Map<number, string | undefined>()

  private constructor(bucket: Bucket, key: Key, id: string) {
    this.#bucket = bucket
    this.#key = key
    this.#id = id
  }

  /** Of an object that is going to lie under `key`. */
  static async create(bucket: Bucket, key: Key): Promise<MultipartUpload> {
    const input = { Bucket: bucket.name, Key: bucket.key(key) }
    const { UploadId = '' } = await bucket.request('CreateMultipartUpload', key, 'small', client =>
      client.send(new CreateMultipartUploadCommand(input))
    )
    return new MultipartUpload(bucket, key, UploadId)
  }

  get #input() {
    return { Bucket: this.#bucket.name, Key: this.#bucket.key(this.#key), UploadId: this.#id }
  }

  /** Part `number`, counted from 1. */
  async put(number: number, span: Span, signal?: AbortSignal): Promise<void> {
    const input = { ...this.#input, PartNumber: number, ContentLength: span.end - span.start }
    const { ETag } = await this.#bucket.upload('UploadPart', this.#key, signal, client =>
      withStallTimeout(span, signal, (Body, abortSignal) => client.send(new UploadPartCommand({ ...input, Body }), { abortSignal }))
    )
    this.#parts.set(number, ETag)
  }

  /** Part `number` from an object, or from bytes of it. */
  async copy(number: number, from: Key, range?: { first: number; last: number }): Promise<void> {
    const input = {
      ...this.#input,
      PartNumber: number,
      CopySource: this.#bucket.copySource(from),
      ...(range ? { CopySourceRange: `bytes=${range.first}-${range.last}` } : {})
    }
    const { CopyPartResult } = await this.#bucket.request('UploadPartCopy', this.#key, 'copy', client =>
      client.send(new UploadPartCopyCommand(input))
    )
    this.#parts.set(number, CopyPartResult?.ETag)
  }

  /** The object is there when it resolves. */
  async complete(): Promise<void> {
    const Parts = [...this.#parts].sort(([a], [b]) => a - b).map(([PartNumber, ETag]) => ({ PartNumber, ETag }))
    const input = { ...this.#input, MultipartUpload: { Parts } }
    await this.#bucket.request('CompleteMultipartUpload', this.#key, 'copy', client =>
      client.send(new CompleteMultipartUploadCommand(input))
    )
  }

  /** Nothing is left of it; what the service does not hear of is aborted by the next sweep. */
  async abort(): Promise<void> {
    const input = this.#input
    await this.#bucket
      .find('AbortMultipartUpload', this.#key, 'small', client => client.send(new AbortMultipartUploadCommand(input)))
      .catch(() => {})
  }
}

/** An object that is sent in parts as they come, to where it is going to lie; in one request if there is only one part. */
export class DirectUpload {
  readonly to: Key
  readonly #bucket: Bucket
  #multipart: Promise<MultipartUpload> | undefined

  constructor(bucket: Bucket, to: Key) {
    bucket.key(to)
    this.#bucket = bucket
    this.to = to
  }

  /** Part `number`, counted from 1, of which others follow. */
  async put(number: number, span: Span, signal: AbortSignal): Promise<void> {
    this.#multipart ??= MultipartUpload.create(this.#bucket, this.to)
    await (await this.#multipart).put(number, span, signal)
  }

  /** The last part, if there is one. The object is there when it resolves. */
  async complete(number: number, last: Span | undefined, signal: AbortSignal): Promise<void> {
    if (!this.#multipart) {
      if (!last) throw new Error(`nothing was sent for ${this.to}`)
      return putObject(this.#bucket, this.to, last, signal)
    }
    const multipart = await this.#multipart
    if (last) await multipart.put(number, last, signal)
    await multipart.complete()
    this.#multipart = undefined
  }

  /** Nothing is left of it, and it can begin anew. When nothing is being sent any more. */
  async abort(): Promise<void> {
    const multipart = this.#multipart
    this.#multipart = undefined
    await (await multipart?.catch(() => undefined))?.abort()
  }
}

/** Runs `task` with a multipart upload to `key`, and completes it, or leaves nothing. */
export async function withMultipartUpload(bucket: Bucket, key: Key, task: (multipart: MultipartUpload) => Promise<void>): Promise<void> {
  const multipart = await MultipartUpload.create(bucket, key)
  try {
    await task(multipart)
    await multipart.complete()
  } catch (error) {
    await multipart.abort()
    throw error
  }
}

/** Parts that are copied side by side, in order of their numbers. */
export async function copyParts(multipart: MultipartUpload, from: readonly Key[]): Promise<void> {
  const limit = createSemaphore(maxConcurrentCopies)
  await settleAll(from.map((key, index) => limit(() => multipart.copy(index + 1, key))))
}

/** Resolves when all have ended, which `stop` helps along when they take long: what a service is still taking in may arrive after it was told to forget it. */
export async function settleOrAbort(tasks: readonly Promise<unknown>[], stop: AbortController): Promise<void> {
  const timer = setTimeout(() => stop.abort(), abortGraceMs)
  await Promise.allSettled(tasks)
  clearTimeout(timer)
  stop.abort()
}

/** Resolves when all have ended; rejects with the first failure, but not before that. */
export async function settleAll(tasks: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(tasks)).find(each => each.status === 'rejected')
  if (failed) throw failed.reason
}

/** Copies an object of `size` bytes within the bucket; false if there is none. */
export async function copyObject(bucket: Bucket, from: Key, to: Key, size: number): Promise<boolean> {
  if (size > maxCopyBytes) {
    await copyPieces(bucket, from, to, size)
    return true
  }
  const input = { Bucket: bucket.name, Key: bucket.key(to), CopySource: bucket.copySource(from) }
  return (await bucket.find('CopyObject', to, 'copy', client => client.send(new CopyObjectCommand(input)))) !== undefined
}

/** Gives an object a new time; one that is not there is passed over. */
export async function touchObject(bucket: Bucket, key: Key, sizeOf: () => Promise<number | undefined>): Promise<void> {
  // The later one: what is taken for old is copied once more, and that is all.
  const began = Math.max(Date.now(), bucket.now())
  // A copy onto itself has to change something.
  const change = { MetadataDirective: 'REPLACE' as const, Metadata: { renewed: String(began) } }
  const input = { Bucket: bucket.name, Key: bucket.key(key), CopySource: bucket.copySource(key), ...change }
  try {
    const copied = await bucket.find('CopyObject', key, 'copy', client => client.send(new CopyObjectCommand(input)))
    // Some services change the metadata alone.
    if (!copied || (copied.CopyObjectResult?.LastModified?.getTime() ?? 0) >= began - 1_000) return
  } catch (error) {
    // Too large for one request.
    if (describeError((error as Error).cause).status !== 400) throw error
  }
  const size = await sizeOf()
  if (size !== undefined && size > 0) await copyPieces(bucket, key, key, size)
}

async function copyPieces(bucket: Bucket, from: Key, to: Key, size: number): Promise<void> {
  await withMultipartUpload(bucket, to, async multipart => {
    const limit = createSemaphore(maxConcurrentCopies)
    const pieces = Array.from({ length: Math.ceil(size / copyPartBytes) }, (_, at) => ({
      first: at * copyPartBytes,
      last: Math.min(size, (at + 1) * copyPartBytes) - 1
    }))
    await settleAll(pieces.map((range, at) => limit(() => multipart.copy(at + 1, from, range))))
  })
}
