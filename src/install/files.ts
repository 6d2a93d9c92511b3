import { randomUUID } from 'node:crypto'
import { type FileHandle, lstat, mkdir, open, readdir, readFile, readlink, rename, rm, rmdir, symlink, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Type, content and permission bits of a file or symbolic link; `text` is the target of a link. */
export interface FileState {
  kind: 'file' | 'link'
  /** One character per byte (latin1), so that no byte of a foreign file is lost. */
  text: string
  mode: number
  /** Its owner and group; what is written without them belongs to this process. */
  uid?: number
  gid?: number
}

/** Reads the file or link at `path`, not its target; undefined if absent. Throws for a directory or other types. */
export async function readState(path: string): Promise<FileState | undefined> {
  const found = await lstat(path).catch(absent)
  if (!found) return undefined
  const { uid, gid } = found
  const mode = found.mode & 0o777
  if (found.isSymbolicLink()) return { kind: 'link', text: await readlink(path), mode, uid, gid }
  if (!found.isFile()) throw new Error(`${path} is not a file: it is left alone, move it away`)
  return { kind: 'file', text: await readFile(path, 'latin1'), mode, uid, gid }
}

/** Whether `path` is a directory; false if absent. Throws for a symbolic link, which could lead out of the root. */
export async function isDirectory(path: string): Promise<boolean> {
  const found = await lstat(path).catch(absent)
  if (found && !found.isDirectory()) throw new Error(`${path} is not a directory of its own: it is not followed, move it away`)
  return found !== undefined
}

/** Whether anything exists at `path`; a link is not followed. */
export async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(absent)) !== undefined
}

/** Creates the directory with its parents; durable when it resolves. */
export async function makeDirectory(path: string, mode: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode })
  if (first === undefined) return
  for (let each = path; each.length >= first.length; each = dirname(each)) await syncDirectory(dirname(each))
}

/** Replaces `path` atomically; durable when it resolves. `tempDirectory` must be on the same file system. */
export async function writeState(path: string, state: FileState, tempDirectory: string): Promise<void> {
  await makeDirectory(tempDirectory, 0o700)
  await replace(path, state, join(tempDirectory, `${randomUUID()}.tmp`))
}

/**
 * The same by a hidden file beside it, of which an interrupted call may leave one. Not safe against a second call at
 * the same time.
 */
export async function writeStateBeside(path: string, state: FileState): Promise<void> {
  const temp = tempBeside(path)
  await unlink(temp).catch(absent)
  try {
    await replace(path, state, temp)
  } catch (error) {
    // What does not fit should not take the space of what else is written.
    await unlink(temp).catch(() => {})
    throw error
  }
}

/** What an interrupted `writeStateBeside` may leave. The kubelet and containerd pass over hidden files. */
export function tempBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.registry.tmp`)
}

async function replace(path: string, state: FileState, temp: string): Promise<void> {
  if (state.kind === 'link') await symlink(state.text, temp)
  else await writeSynced(temp, state)
  await rename(temp, path)
  await syncDirectory(dirname(path))
}

/** Removes a file or link; succeeds if absent. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch(absent)
  await syncDirectory(dirname(path)).catch(absent)
}

/** Removes a directory if it is empty; succeeds otherwise. */
export async function removeIfEmpty(path: string): Promise<void> {
  try {
    await rmdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTEMPTY' || code === 'EEXIST') return
    throw error
  }
  await syncDirectory(dirname(path))
}

/** Removes `path` with everything below it. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
  await syncDirectory(dirname(path)).catch(absent)
}

/** The names in a directory; none if it is absent. */
export async function list(path: string): Promise<string[]> {
  return (await readdir(path).catch(absent)) ?? []
}

/** Adds the uid and `hint` to an error of missing permission; returns any other error unchanged. */
export function explainAccess(error: unknown, hint: string): unknown {
  const { code, path } = error as NodeJS.ErrnoException
  if (code === 'EROFS') return new Error(`${path}: the file system is mounted read-only`, { cause: error })
  if (code !== 'EACCES' && code !== 'EPERM') return error
  return new Error(`${path}: permission denied to uid ${process.geteuid?.()}; ${hint}`, { cause: error })
}

async function writeSynced(path: string, { text, mode, uid, gid }: FileState): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  try {
    await handle.writeFile(text, 'latin1')
    await own(handle, uid, gid)
    // open(2) applies the umask, and chown(2) may clear bits.
    await handle.chmod(mode)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

// A process that is not root may only keep what it has.
async function own(handle: FileHandle, uid?: number, gid?: number): Promise<void> {
  const made = await handle.stat()
  const [owner, group] = [uid ?? made.uid, gid ?? made.gid]
  if (owner !== made.uid || group !== made.gid) await handle.chown(owner, group)
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
