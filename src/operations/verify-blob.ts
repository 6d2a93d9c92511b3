import type { OpenObject, Storage } from '../../storage/storage.ts'
import { blob as blobKey } from '../content/keys.ts'
import type { KnownDamage, ObservedObject, Quarantine } from '../content/quarantine.ts'
import { algorithmOf, createDigester, type Digest } from '../oci/digest.ts'
import { type ReadRate, unlimited } from './read-rate.ts'

/** What verifying blobs needs. */
export interface VerifyDeps {
  storage: Storage
  quarantine: Quarantine
  readRate: ReadRate
  signal: AbortSignal
  /** Used by one call at a time. */
  buffer: Buffer
  /** Called with each number of bytes that was read. */
  onRead(bytes: number): void
}

/** The state of the bytes of a digest. */
export type ScrubFinding =
  | { state: 'healthy' | 'absent' }
  | { state: 'damaged'; damage: KnownDamage }
  /** The error may be one of the storage and not of this blob. */
  | { state: 'unknown'; reason: string }

/** A buffer for `VerifyDeps`: small, since the digest of its content is computed in one go while all else waits. */
export const createReadBuffer = (): Buffer => Buffer.allocUnsafe(256 * 1024)

// Errors of worn-out disks. Others, such as missing rights or too many open files, say nothing about the bytes.
const mediumErrors = new Set(['EIO', 'EUCLEAN', 'EBADMSG', 'EREMOTEIO', 'ENODATA'])
// Reading a small file is as much work for a disk as reading this many bytes.
const minCostBytes = 16 * 1024
// A blob that is replaced or renewed while it is read is read again, this often at most.
const maxConfirmations = 3

/**
 * Verifies the bytes of `digest`, and quarantines them if they are damaged. Damage found once is confirmed by a second
 * read, at full speed, and only the bytes that were read are quarantined.
 */
export async function verifyBlob(digest: Digest, deps: VerifyDeps): Promise<ScrubFinding> {
  let read = await readBlob(digest, deps)
  for (let confirmations = 0; read.state === 'wrong' && confirmations < maxConfirmations; confirmations++) {
    read = await readBlob(digest, { ...deps, readRate: unlimited, onRead: () => {} })
    if (read.state !== 'wrong') break
    const damage = await deps.quarantine.add(digest, read.observed, read.reason)
    if (damage) return { state: 'damaged', damage }
  }
  // An earlier finding is outdated.
  if (read.state === 'healthy' && deps.quarantine.has(digest)) await deps.quarantine.healed(digest)
  return read.state === 'wrong' ? { state: 'unknown', reason: 'it changed during each read' } : read
}

type BlobRead = Exclude<ScrubFinding, { state: 'damaged' }> | { state: 'wrong'; observed: ObservedObject; reason: string }

async function readBlob(digest: Digest, deps: VerifyDeps): Promise<BlobRead> {
  let observed: ObservedObject | undefined
  let object: OpenObject | undefined
  try {
    object = await deps.storage.open(blobKey(digest))
    if (!object) return { state: 'absent' }
    observed = { size: object.size, modified: object.modified }
    const actual = await computeDigest(object, digest, deps)
    return actual === digest ? { state: 'healthy' } : { state: 'wrong', observed, reason: `${observed.size} bytes of ${actual}` }
  } catch (error) {
    deps.signal.throwIfAborted()
    const { code, message } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    const reason = `cannot be read: ${message}`
    return observed && mediumErrors.has(code) ? { state: 'wrong', observed, reason } : { state: 'unknown', reason }
  } finally {
    await object?.close()
  }
}

async function computeDigest(object: OpenObject, digest: Digest, { buffer, readRate, signal, onRead }: VerifyDeps): Promise<Digest> {
  const digester = createDigester(algorithmOf(digest))
  for (let position = 0; ; ) {
    signal.throwIfAborted()
    const length = await object.readInto(buffer, position)
    if (length === 0) return digester.digest()
    await readRate(Math.max(length, minCostBytes), signal)
    digester.update(buffer.subarray(0, length))
    position += length
    onRead(length)
  }
}
