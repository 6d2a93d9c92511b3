import type { OpenObject, Storage } from '../../storage/storage.ts'
import { blob as blobKey } from '../content/keys.ts'
import type { KnownDamage, ObservedObject, Quarantine } from '../content/quarantine.ts'
import { algorithmOf, createDigester, type Digest } from '../oci/digest.ts'
import { type ReadRate, unlimited } from './read-rate.ts'

/** What an examination needs. */
export interface VerifyDeps {
  storage: Storage
  quarantine: Quarantine
  pace: ReadRate
  signal: AbortSignal
  /** Used by one examination at a time. */
  buffer: Buffer
  /** Told of bytes as they are read. */
  read(bytes: number): void
}

/** How the bytes of a digest are. */
export type ScrubFinding =
  | { state: 'sound' | 'absent' }
  | { state: 'damaged'; damage: KnownDamage }
  /** Nobody can tell: what the medium says is no damage of this one blob. */
  | { state: 'unknown'; reason: string }

/** A buffer for examinations: small, since its digest is computed in one go while all else waits. */
export const createReadBuffer = (): Buffer => Buffer.allocUnsafe(256 * 1024)

// Read errors of a medium that is worn out. Others, such as missing rights or too many open files, say nothing of the bytes.
const wornOut = new Set(['EIO', 'EUCLEAN', 'EBADMSG', 'EREMOTEIO', 'ENODATA'])
// A read of a small file is as much work for a disk as this many bytes.
const leastCost = 16 * 1024
// A copy that is replaced or renewed while it is examined is examined again, but not for ever.
const looks = 3

/**
 * Reads the bytes of `digest` and sets them aside if they are not what it says. Nothing is condemned after one look: a second one, at full speed, has to find the same.
 */
export async function verifyBlob(digest: Digest, lab: VerifyDeps): Promise<ScrubFinding> {
  let look = await lookAt(digest, lab)
  for (let again = 0; look.state === 'wrong' && again < looks; again++) {
    look = await lookAt(digest, { ...lab, pace: unlimited, read: () => {} })
    if (look.state !== 'wrong') break
    const damage = await lab.quarantine.add(digest, look.seen, look.reason)
    if (damage) return { state: 'damaged', damage }
  }
  // Whatever was once said of it.
  if (look.state === 'sound' && lab.quarantine.has(digest)) await lab.quarantine.healed(digest)
  return look.state === 'wrong' ? { state: 'unknown', reason: 'it changed whenever it was looked at' } : look
}

type LookedAt = Exclude<ScrubFinding, { state: 'damaged' }> | { state: 'wrong'; seen: ObservedObject; reason: string }

async function lookAt(digest: Digest, lab: VerifyDeps): Promise<LookedAt> {
  let seen: ObservedObject | undefined
  let object: OpenObject | undefined
  try {
    object = await lab.storage.open(blobKey(digest))
    if (!object) return { state: 'absent' }
    seen = { size: object.size, modified: object.modified }
    const actual = await digestOf(object, digest, lab)
    return actual === digest ? { state: 'sound' } : { state: 'wrong', seen, reason: `${seen.size} bytes of ${actual}` }
  } catch (error) {
    lab.signal.throwIfAborted()
    const { code, message } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    const reason = `cannot be read: ${message}`
    return seen && wornOut.has(code) ? { state: 'wrong', seen, reason } : { state: 'unknown', reason }
  } finally {
    await object?.close()
  }
}

async function digestOf(object: OpenObject, digest: Digest, { buffer, pace, signal, read }: VerifyDeps): Promise<Digest> {
  const digester = createDigester(algorithmOf(digest))
  for (let position = 0; ; ) {
    signal.throwIfAborted()
    const length = await object.readInto(buffer, position)
    if (length === 0) return digester.digest()
    await pace(Math.max(length, leastCost), signal)
    digester.update(buffer.subarray(0, length))
    position += length
    read(length)
  }
}
