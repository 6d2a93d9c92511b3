import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import type { SpoolFile } from './spool.ts'

// A request that sends nothing, and gets no response, for so long has stalled.
const stallTimeoutMs = 60_000
// For requests that are not wanted any more.
const abortGraceMs = 2_000

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
export async function withStallTimeout<T>(
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
