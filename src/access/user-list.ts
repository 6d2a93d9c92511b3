import { randomBytes } from 'node:crypto'
import type { HtpasswdEntry } from './htpasswd.ts'

/** The users and their passwords as they stood in the file at one moment; it never changes. */
export interface UserList {
  /** The hashes that are valid for the user, none for an unknown one. */
  hashesOf(user: string): readonly string[]
  /** Hashes that match nothing: with them a failure takes the same work for every user, known or not. */
  decoysOf(user: string): readonly string[]
}

/** Makes a roll of the entries of an htpasswd file. */
export function createUserList(entries: readonly HtpasswdEntry[]): UserList {
  const users = Map.groupBy(entries, entry => entry.user)
  const most = Math.max(0, ...[...users.values()].map(work))
  const decoys = new Map<number, string>()

  function decoy(cost: number): string {
    // 31 dots are a digest of zeros in bcrypt's alphabet; nobody knows a password for it.
    const made = decoys.get(cost) ?? emptyHash(cost)
    decoys.set(cost, made)
    return made
  }

  return {
    hashesOf: user => (users.get(user) ?? []).map(entry => entry.hash),
    decoysOf: user => powers(most - work(users.get(user) ?? [])).map(decoy)
  }
}

// bcrypt's work doubles with each step of cost, so that any difference is a sum of costs: the set bits of the number.
function work(entries: readonly HtpasswdEntry[]): number {
  return entries.reduce((sum, entry) => sum + 2 ** entry.cost, 0)
}

function powers(amount: number): number[] {
  const bits = amount.toString(2)
  return [...bits].flatMap((bit, index) => (bit === '1' ? [bits.length - 1 - index] : []))
}

// A salt and an empty digest in bcrypt's alphabet. The last of the 22 characters of a salt holds two bits only.
function emptyHash(cost: number): string {
  const salt = randomBytes(16).toString('base64').replaceAll('+', '.').slice(0, 21)
  return `$2b$${String(cost).padStart(2, '0')}$${salt}.${'.'.repeat(31)}`
}
