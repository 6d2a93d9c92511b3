import { createHash, randomBytes } from 'node:crypto'
import type { HtpasswdEntry } from './htpasswd.ts'

/** The users of one version of the htpasswd file; immutable. */
export interface UserList {
  /** The rounds of bcrypt that a failure takes: those of the user with the most. */
  readonly rounds: number
  /** The hashes of the user; none if unknown. */
  hashesOf(user: string): readonly string[]
  /** Hashes that match no password: with them a failure takes the same work for every user, known or not. */
  decoysOf(user: string): readonly string[]
  /** What identifies the passwords of the user, and tells nothing about them; undefined if unknown. */
  fingerprintOf(user: string): string | undefined
}

/** Creates the user list of an htpasswd file. */
export function createUserList(entries: readonly HtpasswdEntry[]): UserList {
  const users = Map.groupBy(entries, entry => entry.user)
  const maxWork = Math.max(0, ...[...users.values()].map(work))
  const decoys = new Map<number, string>()
  const fingerprints = new Map<string, string>()

  function decoy(cost: number): string {
    const hash = decoys.get(cost) ?? emptyHash(cost)
    decoys.set(cost, hash)
    return hash
  }

  function fingerprintOf(user: string): string | undefined {
    const own = users.get(user)
    if (!own || fingerprints.has(user)) return fingerprints.get(user)
    fingerprints.set(user, fingerprint(own))
    return fingerprints.get(user)
  }

  return {
    rounds: maxWork,
    hashesOf: user => (users.get(user) ?? []).map(entry => entry.hash),
    decoysOf: user => powers(maxWork - work(users.get(user) ?? [])).map(decoy),
    fingerprintOf
  }
}

// A digest of bcrypt strings, each of which has 128 random bits that no password is guessed without.
function fingerprint(entries: readonly HtpasswdEntry[]): string {
  const hashes = entries.map(entry => entry.hash).sort()
  return createHash('sha256').update(hashes.join('\n')).digest('base64url').slice(0, 22)
}

// bcrypt's work doubles with each step of cost, so any difference is a sum of costs: the set bits of the number.
function work(entries: readonly HtpasswdEntry[]): number {
  return entries.reduce((sum, entry) => sum + 2 ** entry.cost, 0)
}

function powers(difference: number): number[] {
  const bits = difference.toString(2)
  return [...bits].flatMap((bit, index) => (bit === '1' ? [bits.length - 1 - index] : []))
}

// A salt, and 31 dots: a digest of zeros in bcrypt's alphabet, for which no password is known. The last of the 22
// characters of a salt holds two bits only.
function emptyHash(cost: number): string {
  const salt = randomBytes(16).toString('base64').replaceAll('+', '.').slice(0, 21)
  return `$2b$${String(cost).padStart(2, '0')}$${salt}.${'.'.repeat(31)}`
}
