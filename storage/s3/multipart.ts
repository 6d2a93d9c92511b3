import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
  UploadPartCopyCommand
} from '@aws-sdk/client-s3'
import { createSemaphore } from '../semaphore.ts'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { putObject, type Span, settleAll, withStallTimeout } from './send.ts'

/** Least size that services accept of every part but the last. */
export const minPartBytes = 5 * 1024 * 1024
const maxConcurrentCopies = 8
const copyRangeBytes = 1024 ** 3

/** A multipart upload. Nothing of it is visible before it is completed. */
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

  /** Starts an upload of the object `key`. */
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

  /** Sends part `number`, counted from 1. */
  async put(number: number, span: Span, signal?: AbortSignal): Promise<void> {
    const input = { ...this.#input, PartNumber: number, ContentLength: span.end - span.start }
    const { ETag } = await this.#bucket.upload('UploadPart', this.#key, signal, client =>
      withStallTimeout(span, signal, (Body, abortSignal) => client.send(new UploadPartCommand({ ...input, Body }), { abortSignal }))
    )
    this.#parts.set(number, ETag)
  }

  /** Copies part `number` from an object or a range of it. */
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

  /** The object is stored when it resolves. */
  async complete(): Promise<void> {
    const Parts = [...this.#parts].sort(([a], [b]) => a - b).map(([PartNumber, ETag]) => ({ PartNumber, ETag }))
    const input = { ...this.#input, MultipartUpload: { Parts } }
    await this.#bucket.request('CompleteMultipartUpload', this.#key, 'copy', client =>
      client.send(new CompleteMultipartUploadCommand(input))
    )
  }

  /** Removes the upload with its parts. If the request fails, the sweep for orphans does it later. */
  async abort(): Promise<void> {
    const input = this.#input
    await this.#bucket
      .findObject('AbortMultipartUpload', this.#key, 'small', client => client.send(new AbortMultipartUploadCommand(input)))
      .catch(() => {})
  }
}

/** Sends an object straight to its final key: in parts as they arrive, or in one request if there is only one part. */
export class DirectUpload {
  readonly to: Key
  readonly #bucket: Bucket
  #multipart: Promise<MultipartUpload> | undefined

  constructor(bucket: Bucket, to: Key) {
    bucket.key(to)
    this.#bucket = bucket
    this.to = to
  }

  /** Sends part `number`, counted from 1; others follow. */
  async put(number: number, span: Span, signal: AbortSignal): Promise<void> {
    this.#multipart ??= MultipartUpload.create(this.#bucket, this.to)
    await (await this.#multipart).put(number, span, signal)
  }

  /** Sends the last part, if there is one. The object is stored when it resolves. */
  async complete(number: number, last: Span | undefined, signal: AbortSignal): Promise<void> {
    if (!this.#multipart) {
      if (!last) throw new Error(`no bytes were given for ${this.to}`)
      return putObject(this.#bucket, this.to, last, signal)
    }
    const multipart = await this.#multipart
    if (last) await multipart.put(number, last, signal)
    await multipart.complete()
    this.#multipart = undefined
  }

  /** Removes what was sent; then it can start anew. Call when no part is being sent. */
  async abort(): Promise<void> {
    const multipart = this.#multipart
    this.#multipart = undefined
    await (await multipart?.catch(() => undefined))?.abort()
  }
}

/** Runs `task` with a multipart upload to `key` and completes it; aborts it if either fails. */
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

/** Copies objects concurrently as the parts of an upload, in this order. */
export async function copyParts(multipart: MultipartUpload, from: readonly Key[]): Promise<void> {
  const limit = createSemaphore(maxConcurrentCopies)
  await settleAll(from.map((key, index) => limit(() => multipart.copy(index + 1, key))))
}

/** Copies an object of `size` bytes by a multipart upload whose parts are ranges of it. */
export async function copyRanges(bucket: Bucket, from: Key, to: Key, size: number): Promise<void> {
  await withMultipartUpload(bucket, to, async multipart => {
    const limit = createSemaphore(maxConcurrentCopies)
    const ranges = Array.from({ length: Math.ceil(size / copyRangeBytes) }, (_, at) => ({
      first: at * copyRangeBytes,
      last: Math.min(size, (at + 1) * copyRangeBytes) - 1
    }))
    await settleAll(ranges.map((range, at) => limit(() => multipart.copy(at + 1, from, range))))
  })
}
