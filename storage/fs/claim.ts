import { constants } from 'node:fs'
import { access, open, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ownModes, ownNames, ownPrefix } from '../layout.ts'
import { makeDirectories, syncDirectory } from './directories.ts'
import { lockDirectory } from './lock.ts'

/** What this process may do with a root. */
export interface Claim {
  access: 'owned' | 'read-only'
  /** The directory of the storage's own files. */
  own: string
  /** Gives the root up. */
  release: () => void
}

const defaultTimeoutMs = 10_000

/**
 * Claims `root` for this process, creating it durably if need be. Rejects with a LockedError if another process owns
 * it, with the code `ESTALLED` if its disk does not answer in time, and with the system call's error if it cannot be
 * written. A read-only filesystem is claimed without a lock: nothing can change there.
 */
export async function claimRoot(root: string, timeoutMs = defaultTimeoutMs): Promise<Claim> {
  const own = join(root, ownPrefix)
  try {
    await inTime(root, prepare(root, own), timeoutMs)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EROFS') return { access: 'read-only', own, release: () => {} }
    throw error
  }
  return { access: 'owned', own, release: lockDirectory(own) }
}

async function prepare(root: string, own: string): Promise<void> {
  const first = await makeDirectories(own, root)
  if (first !== undefined) await syncNames(own, first)
  await access(own, constants.W_OK)
  // The lock is taken in the main thread, which a frozen disk would block for ever; here only this promise hangs. Other
  // errors are reported where they matter.
  await writeTrial(join(own, ownNames.trial)).catch(() => {})
}

async function writeTrial(path: string): Promise<void> {
  await (await open(path, 'w', ownModes.file)).close()
  await unlink(path)
}

async function inTime(root: string, task: Promise<void>, timeoutMs: number): Promise<void> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    const text = `the disk of ${root} has not answered for ${timeoutMs / 1000} s: the registry cannot start before it does`
    late.reject(Object.assign(new Error(text), { code: 'ESTALLED' }))
  }, timeoutMs)
  try {
    await Promise.race([task, late.promise])
  } finally {
    clearTimeout(timer)
    task.catch(() => {})
  }
}

// Makes the names of new directories durable, from `last` up to `first`.
async function syncNames(last: string, first: string): Promise<void> {
  for (let each = last; each.length >= first.length && each !== dirname(each); each = dirname(each)) await syncDirectory(dirname(each))
}
