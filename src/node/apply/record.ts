import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { NodeMode } from '../../../config/node/schema.ts'
import { type FileState, makeDirectory, readState, writeStateBeside } from '../../install/files.ts'
import { places } from '../layout.ts'

/** An owned file as apply wrote it. */
export interface RecordedFile {
  /** SHA-256 in hex. */
  digest: string
  /** A foreign file in which apply changed a setting: it is given back only as long as nothing else changed it. */
  edited: boolean
}

/** What apply owns on a node. Everything that is not listed is foreign and stays. */
export interface NodeRecord {
  /** By path, relative to the root of the node. */
  files: ReadonlyMap<string, RecordedFile>
  /** The directories that apply made. */
  directories: readonly string[]
  /** containerd has to be restarted before its changed configuration counts. */
  restart: boolean
  /** Absent until an apply has come to its end. */
  applied?: Applied
}

/** What a node was made to be. */
export interface Applied {
  mode: NodeMode
  version?: string
}

/** That of a node on which nothing was applied. */
export const noRecord: NodeRecord = { files: new Map(), directories: [], restart: false }

const version = 1
const recordPath = `${places.state}/record.json`

/** The record of the node below `root`; throws if it is damaged. */
export async function readRecord(root: string): Promise<NodeRecord> {
  const path = join(root, recordPath)
  const found = await readState(path)
  if (!found) return noRecord
  try {
    return parse(Buffer.from(found.text, 'latin1').toString('utf8'))
  } catch (cause) {
    const { message } = cause as Error
    throw new Error(`${path} is damaged (${message}): nothing is touched. Without it every file that apply wrote counts as foreign`, {
      cause
    })
  }
}

/** Replaces the record. */
export async function writeRecord(root: string, record: NodeRecord): Promise<void> {
  const text = Buffer.from(printRecord(record)).toString('latin1')
  await makeStateDirectory(root)
  await writeStateBeside(join(root, recordPath), { kind: 'file', text, mode: 0o600 })
}

/** Makes the directory of the record, which holds keys. */
export async function makeStateDirectory(root: string): Promise<void> {
  await makeDirectory(join(root, dirname(places.state)), 0o755)
  await makeDirectory(join(root, places.state), 0o700)
}

/** Where a foreign file is kept that apply replaced; relative to the root of the node. */
export function keptPath(path: string): string {
  return `${keptDirectory}/${keptName(path)}`
}

/** The directory of these files. */
export const keptDirectory = `${places.state}/kept`

/** The name of a kept file: a path may be longer than a name can be. */
export function keptName(path: string): string {
  return createHash('sha256').update(path).digest('hex')
}

/** SHA-256 in hex of the bytes of a file. */
export function digestOfState({ text }: FileState): string {
  return createHash('sha256').update(text, 'latin1').digest('hex')
}

/** Whether two files are the same to a reader. */
export function isSame(one: FileState, other: FileState): boolean {
  const owner = (other.uid === undefined || one.uid === other.uid) && (other.gid === undefined || one.gid === other.gid)
  return one.kind === other.kind && one.text === other.text && one.mode === other.mode && owner
}

/** The text of a record; two records are the same if their texts are. */
export function printRecord({ files, directories, restart, applied }: NodeRecord): string {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1))
  return `${JSON.stringify({ version, files: Object.fromEntries(sorted), directories: [...directories].sort(), restart, applied }, null, 2)}\n`
}

function parse(text: string): NodeRecord {
  const { version: found, files, directories, restart, applied } = JSON.parse(text)
  if (found !== version) throw new Error(`version ${JSON.stringify(found)} is not known`)
  if (typeof files !== 'object' || files === null || !Array.isArray(directories)) throw new Error('files or directories are missing')
  const entries = Object.entries<Partial<RecordedFile>>(files).map(([path, { digest = '', edited }]) => {
    checkPath(path)
    return [path, { digest: String(digest), edited: edited === true }] as const
  })
  for (const directory of directories) checkPath(String(directory))
  return {
    files: new Map(entries),
    directories: directories.map(String),
    restart: restart === true,
    ...(applied ? { applied: { mode: applied.mode, ...(applied.version === undefined ? {} : { version: String(applied.version) }) } } : {})
  }
}

// They are written to and removed.
function checkPath(path: string): void {
  const ok = path.split('/').every(part => part !== '' && part !== '.' && part !== '..' && !part.includes('\0'))
  if (!ok) throw new Error(`${JSON.stringify(path.slice(0, 100))} is not a path below the root`)
}
