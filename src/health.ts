import { randomUUID } from 'node:crypto'
import { ownPrefix } from '../storage/filesystem.ts'
import type { Storage } from '../storage/storage.ts'

/** Rejects unless the medium answers; what can be asked of it without its content. */
export async function checkReadable(storage: Storage): Promise<void> {
  await storage.check()
}

// A block: a full disk still takes an empty file.
const probe = Buffer.alloc(4096)

/** Rejects unless the store takes bytes. Tried for real: free space is no promise where quotas, inodes or a read-only mount decide. */
export async function checkWritable(storage: Storage): Promise<void> {
  const shortage = await storage.shortage(probe.length)
  // What the disk has left it says itself.
  if (shortage && shortage.limit !== 'disk') throw Object.assign(new Error(shortage.reason), { code: 'EDQUOT' })
  const writer = await storage.create(`${ownPrefix}/tmp/${randomUUID()}`)
  try {
    await writer.write([probe])
  } finally {
    await writer.discard()
  }
}
