import { CopyObjectCommand } from '@aws-sdk/client-s3'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { describeError } from './error.ts'
import { copyRanges } from './multipart.ts'

// Largest object that one request copies.
const maxCopyBytes = 5 * 1024 ** 3

/** Copies an object of `size` bytes within the bucket; false if there is no such object. */
export async function copyObject(bucket: Bucket, from: Key, to: Key, size: number): Promise<boolean> {
  if (size > maxCopyBytes) {
    await copyRanges(bucket, from, to, size)
    return true
  }
  const input = { Bucket: bucket.name, Key: bucket.key(to), CopySource: bucket.copySource(from) }
  return (await bucket.findObject('CopyObject', to, 'copy', client => client.send(new CopyObjectCommand(input)))) !== undefined
}

/** Renews the time of an object by copying it onto itself; an absent object is ignored. */
export async function touchObject(bucket: Bucket, key: Key, sizeOf: () => Promise<number | undefined>): Promise<void> {
  // The later of both clocks: if a renewed object is taken for old, it is only copied once more.
  const startedAt = Math.max(Date.now(), bucket.now())
  // S3 refuses a copy onto itself that changes nothing.
  const change = { MetadataDirective: 'REPLACE' as const, Metadata: { renewed: String(startedAt) } }
  const input = { Bucket: bucket.name, Key: bucket.key(key), CopySource: bucket.copySource(key), ...change }
  try {
    const copied = await bucket.findObject('CopyObject', key, 'copy', client => client.send(new CopyObjectCommand(input)))
    // Some services then change only the metadata and keep the time.
    if (!copied || (copied.CopyObjectResult?.LastModified?.getTime() ?? 0) >= startedAt - 1_000) return
  } catch (error) {
    // 400: too large for one request.
    if (describeError((error as Error).cause).status !== 400) throw error
  }
  const size = await sizeOf()
  if (size !== undefined && size > 0) await copyRanges(bucket, key, key, size)
}
