import { CopyObjectCommand } from '@aws-sdk/client-s3'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { describeError } from './error.ts'
import { copyRanges } from './multipart.ts'

// Largest object that one request copies.
const maxCopyBytes = 5 * 1024 ** 3

/** Copies an object of `size` bytes within the bucket; false if there is none. */
export async function copyObject(bucket: Bucket, from: Key, to: Key, size: number): Promise<boolean> {
  if (size > maxCopyBytes) {
    await copyRanges(bucket, from, to, size)
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
  if (size !== undefined && size > 0) await copyRanges(bucket, key, key, size)
}
