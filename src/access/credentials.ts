import { createHmac, randomBytes } from 'node:crypto'
import { verify as verifyBcrypt } from '@node-rs/bcrypt'
import { LRUCache } from 'lru-cache'
import { type AttemptLimits, createAttempts } from './attempts.ts'
import type { BasicCredentials } from './basic.ts'
import { createGate } from './gate.ts'
import type { HtpasswdEntry } from './htpasswd.ts'
import { createRoll, type Roll } from './user-list.ts'

/** What came of a check; `retryAfter` is in milliseconds. */
export type Verdict = { outcome: 'ok' | 'cached' | 'failed' } | { outcome: 'limited'; retryAfter: number }

/** The users of the registry; one per process, since it holds the limit on bcrypt jobs. */
export interface Credentials {
  /** Compares a password of a client at `address` with the user's; never rejects because of what the client sent. */
  check(given: BasicCredentials, address: string): Promise<Verdict>
  /** Takes the entries of a changed file: passwords that are gone are refused from now on, also those that are being checked. */
  replace(entries: readonly HtpasswdEntry[]): void
}

/** Bounds on the work and the memory that strangers can cause. */
export interface CredentialLimits {
  /** bcrypt jobs at once, and checks that may wait for them. */
  jobs: { running: number; waiting: number }
  attempts: AttemptLimits
  /** Remembered passwords, and how many milliseconds a wrong one is remembered. */
  cache: { accepted: number; rejected: number; rejectedFor: number }
}

const defaults: CredentialLimits = {
  jobs: { running: 2, waiting: 64 },
  attempts: { burst: 20, refill: 3000, addresses: 10_000 },
  cache: { accepted: 1024, rejected: 4096, rejectedFor: 30_000 }
}

// bcrypt ignores what follows; accepting it would make every password with the same beginning valid.
const longestPassword = 72

/** All that is true only for one state of the file; a new state starts a new one, and checks under way end in the old. */
interface Generation {
  readonly roll: Roll
  readonly running: Map<string, Promise<Verdict>>
  readonly rejected: LRUCache<string, number>
}

/** Credentials that are checked with bcrypt; `verify` stands in for it in tests, `now` tells milliseconds. */
export function createCredentials(options: {
  entries: readonly HtpasswdEntry[]
  now: () => number
  verify?: (password: Uint8Array, hash: string) => Promise<boolean>
  limits?: Partial<CredentialLimits>
}): Credentials {
  const { now, verify = verifyBcrypt } = options
  const limits = { ...defaults, ...options.limits }
  const attempts = createAttempts(limits.attempts, now)
  const gate = createGate(limits.jobs)
  const accepted = new LRUCache<string, { user: string; hash: string }>({ max: limits.cache.accepted })
  const secret = randomBytes(32)
  let current = begin(options.entries)

  function begin(entries: readonly HtpasswdEntry[]): Generation {
    return { roll: createRoll(entries), running: new Map(), rejected: new LRUCache({ max: limits.cache.rejected }) }
  }

  // A password must not rest in memory as a key; a user holds no NUL, so that the two cannot be cut differently.
  function keyOf({ user, password }: BasicCredentials): string {
    return createHmac('sha256', secret).update(user).update('\0').update(password).digest('base64')
  }

  async function match(roll: Roll, { user, password }: BasicCredentials): Promise<string | undefined> {
    for (const hash of roll.hashesOf(user)) if (await verify(password, hash)) return hash
    for (const decoy of roll.decoysOf(user)) await verify(password, decoy)
    return undefined
  }

  async function settle(key: string, user: string, job: Promise<string | undefined>, generation: Generation): Promise<Verdict> {
    try {
      const hash = await job
      // The file may have changed meanwhile, so that the password counts only if it is valid now.
      if (hash !== undefined && current.roll.hashesOf(user).includes(hash)) {
        accepted.set(key, { user, hash })
        return { outcome: 'ok' }
      }
      generation.rejected.set(key, now() + limits.cache.rejectedFor)
      return { outcome: 'failed' }
    } finally {
      generation.running.delete(key)
    }
  }

  async function start(key: string, given: BasicCredentials, address: string): Promise<Verdict> {
    const generation = current
    const wait = attempts.take(address)
    if (wait !== undefined) return { outcome: 'limited', retryAfter: wait }
    // One permit for all hashes of the user: they run one after the other.
    const job = gate.run(() => match(generation.roll, given))
    if (!job) {
      attempts.giveBack(address)
      return { outcome: 'limited', retryAfter: 1000 }
    }
    const flight = settle(key, given.user, job, generation)
    generation.running.set(key, flight)
    const verdict = await flight
    if (verdict.outcome === 'ok') attempts.giveBack(address)
    return verdict
  }

  return {
    async check(given, address) {
      if (given.password.length > longestPassword) return { outcome: 'failed' }
      const key = keyOf(given)
      if (accepted.get(key)) return { outcome: 'cached' }
      if ((current.rejected.get(key) ?? Number.NEGATIVE_INFINITY) > now()) return { outcome: 'failed' }
      // No await from here until the check is in the map: that is the whole of single-flight.
      const flight = current.running.get(key)
      if (!flight) return await start(key, given, address)
      const verdict = await flight
      return verdict.outcome === 'ok' ? { outcome: 'cached' } : verdict
    },
    replace(entries) {
      current = begin(entries)
      for (const [key, { user, hash }] of [...accepted.entries()]) {
        if (!current.roll.hashesOf(user).includes(hash)) accepted.delete(key)
      }
    }
  }
}
