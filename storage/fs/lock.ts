import { readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ownNames } from '../layout.ts'

/** Another process owns the directory. */
export class LockedError extends Error {
  /** What the owner wrote about itself, for people. */
  readonly owner: string

  constructor(directory: string, owner: string) {
    super(`${directory} belongs to another running process (${owner})`)
    this.name = 'LockedError'
    this.owner = owner
  }
}

/**
 * Locks the directory for this process until the returned function is called or the process ends, however it ends. Node
 * has no flock. SQLite's lock on a database file is the kernel's record lock, which also holds between containers that
 * share the directory and needs no cleaning up after a crash.
 */
export function lockDirectory(directory: string): () => void {
  const note = join(directory, ownNames.owner)
  const database = new DatabaseSync(join(directory, ownNames.lock), { timeout: 0 })
  try {
    // No journal file: taking the lock writes nothing, so that it works on a full disk too. Node refuses OFF.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === sqliteBusy) throw new LockedError(directory, read(note))
    throw error
  }
  try {
    writeFileSync(note, `pid ${process.pid} on ${hostname()}, since ${new Date().toISOString()}\n`)
  } catch {
    // The note is for people; a full disk must not keep the registry from serving.
  }
  return () => database.close()
}

const sqliteBusy = 5

function read(note: string): string {
  try {
    return readFileSync(note, 'utf8').trim()
  } catch {
    return 'unknown'
  }
}
