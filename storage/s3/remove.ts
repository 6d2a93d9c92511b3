import { AbortMultipartUploadCommand, DeleteObjectCommand, DeleteObjectsCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import type { Key } from '../storage.ts'
import { modifiedMs } from './bodies.ts'
import type { Bucket } from './bucket.ts'
import { isAbsence } from './error.ts'

const batchSize = 1_000
// A multipart upload of this age belongs to a process that died.
const orphanAgeMs = 48 * 3_600_000

/** Removes objects, ignoring absent ones. Once `signal` is aborted no further request is made. */
export async function removeObjects(bucket: Bucket, keys: readonly Key[], signal?: AbortSignal): Promise<void> {
  const all = keys.map(key => bucket.key(key))
  if (all.length === 1 && all[0] !== undefined) return removeOne(bucket, all[0], signal)
  for (let at = 0; at < all.length; at += batchSize) await removeBatch(bucket, all.slice(at, at + batchSize), signal)
}

async function removeOne(bucket: Bucket, Key: string, signal: AbortSignal | undefined): Promise<void> {
  const input = { Bucket: bucket.name, Key }
  await bucket.findObject('DeleteObject', Key, 'small', client => client.send(new DeleteObjectCommand(input), abortBy(signal)))
}

async function removeBatch(bucket: Bucket, keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const input = { Bucket: bucket.name, Delete: { Quiet: true, Objects: keys.map(Key => ({ Key })) } }
  const { Errors = [] } = await bucket.request('DeleteObjects', undefined, 'small', client =>
    client.send(new DeleteObjectsCommand(input), abortBy(signal))
  )
  const failed = Errors.find(({ Code }) => !isAbsence({ Code }))
  if (failed) throw bucket.wrapError('DeleteObjects', failed.Key, failed)
}

const abortBy = (signal: AbortSignal | undefined) => (signal ? { abortSignal: signal } : {})

/**
 * Aborts multipart uploads, to keys that begin with `prefix`, of processes that died. A lifecycle rule can do the same.
 */
export async function abortOrphans(bucket: Bucket, prefix: string): Promise<void> {
  const input = { Bucket: bucket.name, Prefix: bucket.prefix + prefix }
  const found = await bucket.request('ListMultipartUploads', undefined, 'small', client =>
    client.send(new ListMultipartUploadsCommand(input))
  )
  for (const { Key, UploadId, Initiated } of found.Uploads ?? []) {
    if (bucket.now() - modifiedMs(Initiated) < orphanAgeMs) continue
    const orphan = { Bucket: bucket.name, Key, UploadId }
    await bucket.findObject('AbortMultipartUpload', Key ?? '', 'small', client => client.send(new AbortMultipartUploadCommand(orphan)))
  }
}
