import { closeSync, existsSync, openSync, renameSync } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { ownModes } from '../../storage/layout.ts'
import { type EntryKey, keyOf, parseEntry, type SentEntry, sendEntry } from './entry.ts'
import type { StoredRow, TableStore } from './ports.ts'

/** What a table on disk needs. */
export interface SqliteTableOptions {
  /** Runs a call to the disk; it may refuse while the disk does not answer. */
  write: <T>(task: () => Promise<T>) => Promise<T>
  /** The table was lost, and why: it is made anew from the tree. */
  onLost: (reason: string) => void
  /** What a table that was lost says in place of its facts. */
  factsOfLost: Readonly<Record<string, string>>
}

// Beyond it the log is written into the database, which waits for the disk.
const maxLogBytes = 4 * 1024 * 1024
const name = 'table.db'
/** Its presence says that there was a table. */
const marker = 'joined'
// SQLITE_CORRUPT and SQLITE_NOTADB.
const damaged = new Set([11, 26])

const schema = `
  CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, entry TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, older TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`

/**
 * A table in a SQLite database. A save is one transaction in the write-ahead log, which is then synced by a thread: the
 * event loop waits for no fsync, but when the log has grown to some MiB.
 */
export class SqliteTable implements TableStore, AsyncDisposable {
  readonly #database: DatabaseSync
  readonly #log: FileHandle
  readonly #options: SqliteTableOptions
  readonly #statements: Record<'put' | 'drop' | 'note', StatementSync>
  readonly #wasLost: boolean

  private constructor(database: DatabaseSync, log: FileHandle, options: SqliteTableOptions, wasLost: boolean) {
    this.#database = database
    this.#log = log
    this.#options = options
    this.#wasLost = wasLost
    this.#statements = {
      put: database.prepare('INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)'),
      drop: database.prepare('DELETE FROM rows WHERE key = ?'),
      note: database.prepare('INSERT OR REPLACE INTO facts VALUES (?, ?)')
    }
  }

  /** Opens the table below `directory`, or makes one. A damaged one is set aside. */
  static async open(directory: string, options: SqliteTableOptions): Promise<SqliteTable> {
    await options.write(() => mkdir(directory, { recursive: true, mode: ownModes.directory }))
    const path = join(directory, name)
    let reason = existsSync(join(directory, marker)) && !existsSync(path) ? `${path} is gone` : undefined
    let database: DatabaseSync
    try {
      database = openDatabase(path)
    } catch (error) {
      if (!damaged.has((error as { errcode?: number }).errcode ?? 0)) throw error
      reason = `${path} is damaged (${(error as Error).message}) and was set aside as ${name}.damaged`
      for (const suffix of ['', '-wal']) if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.damaged${suffix}`)
      database = openDatabase(path)
    }
    if (reason !== undefined) options.onLost(reason)
    const log = await options.write(() => open(`${path}-wal`, 'r'))
    makeFile(join(directory, marker))
    return new SqliteTable(database, log, options, reason !== undefined)
  }

  async load(): ReturnType<TableStore['load']> {
    const facts = this.#database.prepare('SELECT name, value FROM facts').all() as { name: string; value: string }[]
    const rows: StoredRow[] = []
    for (const row of this.#database.prepare('SELECT entry, state, since, older FROM rows').iterate()) {
      const { entry: text, state, since, older } = row as { entry: string; state: StoredRow['state']; since: number; older: string }
      const entry = parseEntry(JSON.parse(text) as SentEntry)
      if (entry) rows.push({ entry, state, since, older: JSON.parse(older) as StoredRow['older'] })
    }
    const stored = Object.fromEntries(facts.map(each => [each.name, each.value]))
    return { rows, facts: this.#wasLost && facts.length === 0 ? this.#options.factsOfLost : stored }
  }

  async save({ rows, dropped, facts }: Parameters<TableStore['save']>[0]): Promise<void> {
    await this.#options.write(async () => {
      this.#commit(rows, dropped, facts)
      await this.#log.datasync()
      if ((await this.#log.stat()).size > maxLogBytes) this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    })
  }

  #commit(rows: readonly StoredRow[], dropped: readonly EntryKey[], facts: Readonly<Record<string, string>>): void {
    const { put, drop, note } = this.#statements
    this.#database.exec('BEGIN')
    try {
      for (const { entry, state, since, older } of rows)
        put.run(keyOf(entry), JSON.stringify(sendEntry(entry)), state, Math.round(since), JSON.stringify(older))
      for (const key of dropped) drop.run(key)
      for (const [fact, value] of Object.entries(facts)) note.run(fact, value)
      this.#database.exec('COMMIT')
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#log.close()
    this.#database.close()
  }
}

// The process owns the directory, so that no memory is shared with others. The log is made with the first transaction.
function openDatabase(path: string): DatabaseSync {
  makeFile(path)
  const database = new DatabaseSync(path)
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0')
    database.exec(schema)
    database.prepare('SELECT count(*) FROM rows').get()
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

// SQLite would make it readable for all.
function makeFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', ownModes.file))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}
