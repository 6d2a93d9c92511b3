import type { Key, Storage } from '../../storage/storage.ts'
import * as keys from '../content/keys.ts'
import { type Digest, isDigest } from '../oci/digest.ts'

/** All digests that have bytes, in order, those after `after` only. */
export async function* listBlobs(storage: Storage, after = ''): AsyncGenerator<Digest, void> {
  for await (const algorithm of prefixes(storage, keys.blobs)) {
    for await (const bucket of prefixes(storage, algorithm.key)) {
      // Buckets before that of `after` are not even listed.
      if (`${algorithm.name}:${bucket.name}` < after.slice(0, algorithm.name.length + 1 + bucket.name.length)) continue
      for await (const { name } of prefixes(storage, bucket.key)) {
        const digest = `${algorithm.name}:${name}`
        if (digest > after && isDigest(digest)) yield digest
      }
    }
  }
}

async function* prefixes(storage: Storage, prefix: Key) {
  for await (const entry of storage.walk(prefix)) if (entry.kind === 'prefix') yield entry
}

/** Bytes of all blobs together. */
export async function storedBytes(storage: Storage, signal: AbortSignal): Promise<number> {
  let sum = 0
  for await (const digest of listBlobs(storage)) {
    signal.throwIfAborted()
    sum += (await storage.stat(keys.blob(digest)).catch(() => undefined))?.size ?? 0
  }
  return sum
}
