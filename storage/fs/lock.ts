import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ownModes, ownNames } from '../layout.ts'

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
  const path = join(directory, ownNames.lock)
  makeLockFile(path)
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    // No journal file: taking the lock writes nothing, so that it works on a full disk too. Node refuses OFF.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === sqliteBusy) throw new LockedError(directory, read(note))
    throw error
  }
  try {
    writeFileSync(note, `pid ${process.pid} on ${hostname()}, since ${new Date().toISOString()}\n`, { mode: ownModes.file })
  } catch {
    // The note is for people; a full disk must not keep the registry from serving.
  }
  return () => database.close()
}

const sqliteBusy = 5

// SQLite would make it readable for all. A file that exists is not opened: closing it would give up a lock of this
// process (POSIX, close).
function makeLockFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', ownModes.file))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function read(note: string): string {
  try {
    return readFileSync(note, 'utf8').trim()
  } catch {
    return 'unknown'
  }
}
