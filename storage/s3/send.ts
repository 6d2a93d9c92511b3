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

/** Bytes of a spool file from `start` up to, not including, `end`. */
export interface Span {
  file: SpoolFile
  start: number
  end: number
}

/** Puts an object in one request. */
export async function putObject(bucket: Bucket, key: Key, span: Span, signal?: AbortSignal): Promise<void> {
  const ContentMD5 = await md5Of(span)
  await bucket.upload('PutObject', key, signal, client =>
    withStallTimeout(span, signal, (Body, abortSignal) =>
      client.send(
        new PutObjectCommand({ Bucket: bucket.name, Key: bucket.key(key), Body, ContentLength: span.end - span.start, ContentMD5 }),
        { abortSignal }
      )
    )
  )
}

// Some services store the truncated body of a request whose client died as the object; a checksum prevents that.
async function md5Of({ file, start, end }: Span): Promise<string> {
  const hash = createHash('md5')
  if (end > start) for await (const chunk of file.stream(start, end)) hash.update(chunk)
  return hash.digest('base64')
}

/** Sends a span; rejects with `ETIMEDOUT` when the service neither reads the body nor responds. */
export async function withStallTimeout<T>(
  { file, start, end }: Span,
  signal: AbortSignal | undefined,
  send: (body: Readable, signal: AbortSignal) => Promise<T>
): Promise<T> {
  const body = end > start ? file.stream(start, end) : Readable.from([])
  const stalled = new AbortController()
  const timer = setTimeout(() => stalled.abort(), stallTimeoutMs)
  const failed = Promise.withResolvers<never>()
  body.on('data', () => void timer.refresh())
  body.pause()
  // A read error of the spool would leave the request waiting for its body.
  body.once('error', failed.reject)
  try {
    return await Promise.race([send(body, signal ? AbortSignal.any([stalled.signal, signal]) : stalled.signal), failed.promise])
  } catch (error) {
    if (stalled.signal.aborted)
      throw Object.assign(new Error('the request made no progress for a minute', { cause: error }), { code: 'ETIMEDOUT' })
    throw error
  } finally {
    clearTimeout(timer)
    body.destroy()
  }
}

/**
 * Waits until all tasks have settled, and aborts those that take long. A part that a service is still receiving would
 * otherwise be stored after its upload was aborted or its object removed.
 */
export async function settleOrAbort(tasks: readonly Promise<unknown>[], controller: AbortController): Promise<void> {
  const timer = setTimeout(() => controller.abort(), abortGraceMs)
  await Promise.allSettled(tasks)
  clearTimeout(timer)
  controller.abort()
}

/** Waits until all tasks have settled, then rejects with the first failure, if any. */
export async function settleAll(tasks: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(tasks)).find(each => each.status === 'rejected')
  if (failed) throw failed.reason
}
