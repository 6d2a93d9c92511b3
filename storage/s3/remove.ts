import { AbortMultipartUploadCommand, DeleteObjectCommand, DeleteObjectsCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import type { Key } from '../storage.ts'
import { modifiedMs } from './bodies.ts'
import type { Bucket } from './bucket.ts'
import { isAbsence } from './error.ts'

const batchSize = 1_000
// What nobody has completed for so long belongs to a process that is gone, in ms.
const orphanAgeMs = 48 * 3_600_000

/** Removes objects; those that are not there are passed over. Nothing is asked for any more once `signal` is aborted. */
export async function removeObjects(bucket: Bucket, keys: readonly Key[], signal?: AbortSignal): Promise<void> {
  const all = keys.map(key => bucket.key(key))
  if (all.length === 1 && all[0] !== undefined) return removeOne(bucket, all[0], signal)
  for (let at = 0; at < all.length; at += batchSize) await removeSome(bucket, all.slice(at, at + batchSize), signal)
}

async function removeOne(bucket: Bucket, Key: string, signal: AbortSignal | undefined): Promise<void> {
  const input = { Bucket: bucket.name, Key }
  await bucket.find('DeleteObject', Key, 'small', client => client.send(new DeleteObjectCommand(input), until(signal)))
}

async function removeSome(bucket: Bucket, keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const input = { Bucket: bucket.name, Delete: { Quiet: true, Objects: keys.map(Key => ({ Key })) } }
  const { Errors = [] } = await bucket.request('DeleteObjects', undefined, 'small', client =>
    client.send(new DeleteObjectsCommand(input), until(signal))
  )
  const failed = Errors.find(({ Code }) => !isAbsence({ Code }))
  if (failed) throw bucket.error('DeleteObjects', failed.Key, failed)
}

const until = (signal: AbortSignal | undefined) => (signal ? { abortSignal: signal } : {})

/** Aborts multipart uploads of processes that died, of keys that begin with `prefix`. A lifecycle rule of the bucket does the same. */
export async function abortOrphans(bucket: Bucket, prefix: string): Promise<void> {
  const input = { Bucket: bucket.name, Prefix: bucket.prefix + prefix }
  const found = await bucket.request('ListMultipartUploads', undefined, 'small', client =>
    client.send(new ListMultipartUploadsCommand(input))
  )
  for (const { Key, UploadId, Initiated } of found.Uploads ?? []) {
    if (bucket.now() - modifiedMs(Initiated) < orphanAgeMs) continue
    const orphan = { Bucket: bucket.name, Key, UploadId }
    await bucket.find('AbortMultipartUpload', Key ?? '', 'small', client => client.send(new AbortMultipartUploadCommand(orphan)))
  }
}
