import { join } from 'node:path'
import { makeDirectory, readState, writeState } from './files.ts'

/** A file to install. */
export interface OwnedFile {
  name: string
  text: string
  mode: number
}

/** A directory below the root and the files to install in it. `name` is a relative path, `.` for the root itself. */
export interface OwnedDirectory {
  name: string
  files: readonly OwnedFile[]
}

/** What this program owns below a root, by directory. Everything not listed is foreign and stays. */
export type Ownership = ReadonlyMap<string, OwnedEntry>

/** The owned files of one directory, and whether an install created the directory itself. */
export interface OwnedEntry {
  made: boolean
  files: readonly string[]
}

/** Holds the ownership record, `backup` and `tmp` of a root. Never an install's target: no name begins with a dot. */
export const ownDirectory = '.deckhouse-registry'

const version = 1

/** The owned files that earlier installs recorded; throws if the record is damaged. */
export async function readOwnership(root: string): Promise<Ownership> {
  const path = recordPath(root)
  const found = await readState(path)
  if (found === undefined) return new Map()
  try {
    return parse(found.text)
  } catch (cause) {
    const { message } = cause as Error
    throw new Error(`${path} is damaged (${message}): nothing is touched; without the file everything below ${root} counts as not ours`, {
      cause
    })
  }
}

/** Replaces the record. */
export async function writeOwnership(root: string, ownership: Ownership): Promise<void> {
  await makeDirectory(join(root, ownDirectory), 0o700)
  await writeState(recordPath(root), { kind: 'file', text: print(ownership), mode: 0o600 }, tempDirectory(root))
}

/** Where temp files are made: on the file system of the root. */
export function tempDirectory(root: string): string {
  return join(root, ownDirectory, 'tmp')
}

/** Where backups are kept; one directory in it per owned directory. */
export function backupDirectory(root: string): string {
  return join(root, ownDirectory, 'backup')
}

/** The backup of the foreign file that an owned file replaced. */
export function backupPath(root: string, directory: string, file: string): string {
  return join(backupDirectory(root), backupName(directory), file)
}

/** The name of a directory's backups: flat, so that no backup is in the way of another. No name contains `%`. */
export function backupName(directory: string): string {
  return directory === '.' ? '%2E' : directory.replaceAll('/', '%2F')
}

/** Whether both records are the same. */
export function isSameOwnership(one: Ownership, other: Ownership): boolean {
  return print(one) === print(other)
}

/** Throws unless `name` is a directory below the root, or `.`: it becomes a path that is written to and removed. */
export function checkDirectory(where: string, name: string): void {
  if (name !== '.' && !name.split('/').every(isComponent)) {
    throw new Error(`${where}: ${JSON.stringify(name.slice(0, 100))} is not a directory below the root`)
  }
}

/** Throws unless `name` is a file directly in a directory. */
export function checkFile(where: string, name: string): void {
  if (!isComponent(name)) throw new Error(`${where}: ${JSON.stringify(name.slice(0, 100))} is not a file name`)
}

// Excludes `.`, `..`, hidden names and separators. `@` is for unit templates, `[` and `:` are for hosts with a port.
function isComponent(name: string): boolean {
  return /^[0-9A-Za-z_[][0-9A-Za-z._:@[\]-]{0,254}$/.test(name)
}

function recordPath(root: string): string {
  return join(root, ownDirectory, 'state.json')
}

function print(ownership: Ownership): string {
  const sorted = [...ownership].sort(([a], [b]) => (a < b ? -1 : 1))
  const directories = Object.fromEntries(sorted.map(([name, { made, files }]) => [name, { made, files: [...files].sort() }]))
  return `${JSON.stringify({ version, directories }, null, 2)}\n`
}

function parse(text: string): Ownership {
  const { version: found, directories }: { version?: unknown; directories?: unknown } = JSON.parse(text)
  if (found !== version) throw new Error(`version ${JSON.stringify(found)} is not known`)
  if (!isTable(directories)) throw new Error('directories is not a table')
  return new Map(Object.entries(directories).map(([name, entry]) => [name, parseEntry(name, entry)]))
}

function parseEntry(name: string, entry: unknown): OwnedEntry {
  checkDirectory('directories', name)
  if (!isTable(entry) || !Array.isArray(entry['files'])) throw new Error(`${name} has no files`)
  const files = entry['files'].map(String)
  for (const file of files) checkFile(name, file)
  return { made: entry['made'] === true, files }
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
