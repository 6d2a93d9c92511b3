import type { Storage } from '../../storage/storage.ts'
import * as keys from '../content/keys.ts'
import { digestOfBlob } from '../content/listing.ts'

/** Bytes of all blobs together. */
export async function storedBytes(storage: Storage, signal: AbortSignal): Promise<number> {
  let sum = 0
  for await (const { key, size } of storage.list(keys.blobs)) {
    signal.throwIfAborted()
    if (digestOfBlob(key)) sum += size
  }
  return sum
}
