import { constants } from 'node:fs'
import { access, readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type FilesystemOptions, FilesystemStorage } from '../../storage/fs/filesystem.ts'

// The directories in which a push creates others.
const pushFolders = ['.', 'docker/registry/v2/blobs', 'docker/registry/v2/blobs/sha256', 'docker/registry/v2/repositories']

/** The part of a logger that is used here. */
export interface Warn {
  warn(fields: object, text: string): void
}

/** Opens the root directory; the message of an error says what to do. */
export async function openRoot(root: string, log: Warn, options: FilesystemOptions = {}): Promise<FilesystemStorage> {
  const storage = await FilesystemStorage.open(root, options).catch(async error => {
    throw await describeDenial(root, error)
  })
  try {
    for (const each of pushFolders) await access(join(root, each), constants.W_OK)
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException
    if (code === 'EROFS') log.warn({ root }, 'the filesystem is mounted read-only: pulls are served, pushes are refused')
    else if (code !== 'ENOENT') {
      await storage.close()
      throw await describeDenial(path ?? root, error)
    }
  }
  await warnOfLegacyData(root, log)
  return storage
}

// Deckhouse's former registry kept its data one level below.
async function warnOfLegacyData(root: string, log: Warn): Promise<void> {
  const legacy = join(root, 'local_data')
  const [here, there] = await Promise.all([isDirectory(join(root, 'docker')), isDirectory(join(legacy, 'docker'))])
  if (here || !there) return
  log.warn(
    { root, found: legacy, setting: `storage.filesystem.root: ${legacy}` },
    'the root is empty, but there is registry data below it that this setting would open'
  )
}

// SQLITE_PERM, SQLITE_READONLY and SQLITE_CANTOPEN: the lock file is not writable. Others, such as a full disk, are not
// solved by another owner.
const sqliteDenials = new Set([3, 8, 14])

function isDirectory(directory: string): Promise<boolean> {
  return readdir(directory).then(
    () => true,
    () => false
  )
}

async function describeDenial(path: string, error: unknown): Promise<unknown> {
  const { code, errcode } = error as NodeJS.ErrnoException & { errcode?: number }
  if (code !== 'EACCES' && code !== 'EPERM' && !sqliteDenials.has((errcode ?? 0) & 0xff)) return error
  const [uid, gid] = [process.getuid?.(), process.getgid?.()]
  const { found, owner, mode } = await closestExisting(path)
  const text = `storage.filesystem.root: ${path} cannot be written: this process runs as uid ${uid}, ${found} belongs to uid ${owner} with mode ${mode}`
  return new Error(`${text}; to fix it: chown -R ${uid}:${gid} ${found}`, { cause: error })
}

async function closestExisting(path: string): Promise<{ found: string; owner: number; mode: string }> {
  try {
    const { uid, mode } = await stat(path)
    return { found: path, owner: uid, mode: (mode & 0o7777).toString(8) }
  } catch (error) {
    if (path === dirname(path)) throw error
    return closestExisting(dirname(path))
  }
}
