import { randomUUID } from 'node:crypto'
import { lstat, mkdir, open, readdir, readFile, readlink, rename, rm, rmdir, symlink, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** A file or symbolic link that was found; `text` is where the link points. */
export interface Found {
  kind: 'file' | 'link'
  text: string
  mode: number
}

/** What stands at the path without following a link, or undefined; throws for a directory and anything stranger. */
export async function find(path: string): Promise<Found | undefined> {
  const found = await lstat(path).catch(absent)
  if (!found) return undefined
  const mode = found.mode & 0o777
  if (found.isSymbolicLink()) return { kind: 'link', text: await readlink(path), mode }
  if (!found.isFile()) throw new Error(`${path} is not a file: it is left alone, move it away`)
  // latin1 keeps every byte of a file that is not ours.
  return { kind: 'file', text: await readFile(path, 'latin1'), mode }
}

/** Whether the directory is there; throws for a symbolic link, which could lead anywhere. */
export async function isDirectory(path: string): Promise<boolean> {
  const found = await lstat(path).catch(absent)
  if (found && !found.isDirectory()) throw new Error(`${path} is not a directory of its own: it is not followed, move it away`)
  return found !== undefined
}

/** Whether anything is there. */
export async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(absent)) !== undefined
}

/** Makes the directory with its parents, durable when it resolves. */
export async function makeDirectory(path: string, mode: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode })
  if (first === undefined) return
  for (let each = path; each.length >= first.length; each = dirname(each)) await syncDirectory(dirname(each))
}

/** Puts what was found at the path, whole or not at all and durable when it resolves; the temp file is made in `spare`, on the same file system. */
export async function place(path: string, { kind, text, mode }: Found, spare: string): Promise<void> {
  await makeDirectory(spare, 0o700)
  const temp = join(spare, `${randomUUID()}.tmp`)
  if (kind === 'link') await symlink(text, temp)
  else await writeSynced(temp, text, mode)
  await rename(temp, path)
  await syncDirectory(dirname(path))
}

/** Removes a file; one that is not there is fine. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch(absent)
  await syncDirectory(dirname(path)).catch(absent)
}

/** Removes a directory unless something is left in it. */
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

/** Removes everything below the path. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
  await syncDirectory(dirname(path)).catch(absent)
}

/** The names in a directory, none where it is not there. */
export async function list(path: string): Promise<string[]> {
  return (await readdir(path).catch(absent)) ?? []
}

/** The error of a call that was not allowed, with whoever ran into it; any other as it is. */
export function explain(error: unknown): unknown {
  const { code, path } = error as NodeJS.ErrnoException
  if (code === 'EROFS') return new Error(`${path}: the file system is mounted read-only`, { cause: error })
  if (code !== 'EACCES' && code !== 'EPERM') return error
  const uid = process.geteuid?.()
  return new Error(`${path}: permission denied to uid ${uid}; containerd's files belong to root, run this as root`, { cause: error })
}

async function writeSynced(path: string, text: string, mode: number): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  try {
    await handle.writeFile(text, 'latin1')
    // open(2) takes the umask off.
    await handle.chmod(mode)
    await handle.sync()
  } finally {
    await handle.close()
  }
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
