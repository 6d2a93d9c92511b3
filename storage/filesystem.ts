import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { access, type FileHandle, open, readdir, rm, rmdir, stat, statfs, unlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Directories, makeDirectories, syncDirectory } from './directories.ts'
import { FilesystemWriter, ignoreAbsent, renameDurably } from './filesystem-writer.ts'
import { lockDirectory } from './lock.ts'
import { Pacing } from './pacing.ts'
import type { Rate } from './rate.ts'
import type { Entry, Key, ObjectStat, OpenObject, Storage, Usage, Writer } from './storage.ts'

/** What is only ours, beside the tree that other registries know. */
export const ownPrefix = '.registry'

/** What a directory may be asked to do. */
export interface FilesystemOptions {
  /** For the bytes of objects that are created; what is `put` is exempt. */
  writing?: Rate | undefined
}

/** Objects as files below one directory, which belongs to this process as long as it is open. */
export class FilesystemStorage implements Storage {
  readonly root: string
  readonly #directories: Directories
  readonly #pacing = new Pacing()
  readonly #writing: Rate | undefined
  readonly #unlock: () => void

  private constructor(root: string, { writing }: FilesystemOptions, unlock: () => void) {
    this.root = root
    this.#writing = writing
    this.#directories = new Directories(root)
    this.#unlock = unlock
  }

  /**
   * Takes `root` into possession, creating it if need be. Rejects with a LockedError if another process owns it, and with the system call's error if it cannot
   * be written; a filesystem that is mounted read-only is opened all the same, since what is there can still be served.
   */
  static async open(root: string, options: FilesystemOptions = {}): Promise<FilesystemStorage> {
    const own = join(root, ownPrefix)
    try {
      const first = await makeDirectories(own)
      if (first !== undefined) await syncNames(own, first)
      await access(own, constants.W_OK)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EROFS') return new FilesystemStorage(root, options, () => {})
      throw error
    }
    const unlock = lockDirectory(own)
    try {
      // Temp files of a process that died; only their owner may remove them, and that is us now.
      await rm(join(own, 'tmp'), { recursive: true, force: true })
    } catch (error) {
      unlock()
      throw error
    }
    return new FilesystemStorage(root, options, unlock)
  }

  async close(): Promise<void> {
    this.#unlock()
  }

  async open(key: Key): Promise<OpenObject | undefined> {
    const handle = await open(this.path(key), 'r').catch(ignoreAbsent)
    if (!handle) return undefined
    try {
      const found = await handle.stat()
      if (found.isFile()) return new OpenFile(handle, found.size, found.mtimeMs)
    } catch (error) {
      await handle.close()
      throw error
    }
    await handle.close()
    return undefined
  }

  async stat(key: Key): Promise<ObjectStat | undefined> {
    const found = await stat(this.path(key)).catch(ignoreAbsent)
    return found?.isFile() ? { key, size: found.size, modified: found.mtimeMs } : undefined
  }

  async get(key: Key, limit = 65_536): Promise<Buffer | undefined> {
    const file = await this.open(key)
    if (!file) return undefined
    try {
      if (file.size > limit)
        throw Object.assign(new Error(`${key} has ${file.size} bytes, at most ${limit} are expected`), { code: 'EFBIG' })
      const bytes = Buffer.allocUnsafe(file.size)
      let length = 0
      for (let read = -1; read !== 0 && length < bytes.length; length += read) read = await file.readInto(bytes.subarray(length), length)
      return bytes.subarray(0, length)
    } finally {
      await file.close()
    }
  }

  async put(key: Key, bytes: Uint8Array): Promise<void> {
    const writer = await this.#create(`${ownPrefix}/tmp/${randomUUID()}`)
    try {
      await writer.write([bytes])
      await writer.publish(key)
    } catch (error) {
      await writer.discard().catch(() => {})
      throw error
    }
  }

  async ensurePrefix(prefix: Key): Promise<void> {
    await this.#directories.ensure(this.path(prefix))
  }

  create(key: Key): Promise<Writer> {
    return this.#create(key, this.#writing)
  }

  async #create(key: Key, writing?: Rate): Promise<Writer> {
    const path = this.path(key)
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC
    const handle = await open(path, flags, 0o644).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      await makeDirectories(dirname(path))
      return open(path, flags, 0o644)
    })
    return this.#writer(key, handle, 0, writing)
  }

  async resume(key: Key): Promise<Writer | undefined> {
    const handle = await open(this.path(key), 'r+').catch(ignoreAbsent)
    if (!handle) return undefined
    try {
      return this.#writer(key, handle, (await handle.stat()).size, this.#writing)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  async move(from: Key, to: Key): Promise<boolean> {
    const [source, target] = [this.path(from), this.path(to)]
    // Renaming a directory would move objects that nobody named.
    if (!(await this.stat(from))) return false
    try {
      await renameDurably(this.#directories, source, target)
    } catch (error) {
      if ((await this.stat(from)) || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      return false
    }
    await this.#directories.sync(dirname(source)).catch(ignoreAbsent)
    return true
  }

  #writer(key: Key, handle: FileHandle, offset: number, writing: Rate | undefined): Writer {
    const place = { directories: this.#directories, pacing: this.#pacing, share: writing?.share(), path: (each: Key) => this.path(each) }
    return new FilesystemWriter(place, key, handle, offset)
  }

  async *walk(prefix: Key, after = ''): AsyncIterable<Entry> {
    const found = (await readdir(this.path(prefix), { withFileTypes: true }).catch(ignoreAbsent)) ?? []
    const entries = found.filter(entry => entry.name > after && (entry.isFile() || entry.isDirectory()))
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const entry of entries) {
      yield { key: `${prefix}/${entry.name}`, name: entry.name, kind: entry.isFile() ? 'object' : 'prefix' }
    }
  }

  async touch(keys: readonly Key[]): Promise<void> {
    const now = new Date()
    await Promise.all(keys.map(key => utimes(this.path(key), now, now).catch(ignoreAbsent)))
  }

  async remove(keys: readonly Key[], under?: Key): Promise<void> {
    const stop = under === undefined ? undefined : this.path(under)
    const left = new Set<string>()
    for (const path of keys.map(key => this.path(key))) {
      await unlink(path).catch(ignoreAbsent)
      left.add(await this.#prune(dirname(path), stop))
    }
    for (const directory of left) await this.#directories.sync(directory).catch(ignoreAbsent)
  }

  // Removes empty directories upwards, but not `stop`; gives the one that stays.
  async #prune(from: string, stop: string | undefined): Promise<string> {
    if (stop === undefined) return from
    let each = from
    for (; each.startsWith(`${stop}/`); each = dirname(each)) {
      const kept = await rmdir(each).then(
        () => false,
        (error: NodeJS.ErrnoException) => error.code !== 'ENOENT'
      )
      if (kept) break
      this.#directories.forget(each)
    }
    return each
  }

  async usage(): Promise<Usage> {
    const { bavail, blocks, bsize, ffree, files } = await statfs(this.root)
    return { free: bavail * bsize, total: blocks * bsize, inodesFree: ffree, inodesTotal: files }
  }

  /** The file of a key. Keys are built from parsed names only; one that leads elsewhere is a fault of ours, and stops here. */
  path(key: Key): string {
    if (key.includes('\0') || key.split('/').some(part => part === '' || part === '.' || part === '..'))
      throw new Error(`not a key: ${JSON.stringify(key)}`)
    return `${this.root}/${key}`
  }
}

// Makes the names of new directories durable, from `last` up to `first`.
async function syncNames(last: string, first: string): Promise<void> {
  for (let each = last; each.length >= first.length && each !== dirname(each); each = dirname(each)) await syncDirectory(dirname(each))
}

class OpenFile implements OpenObject {
  readonly #handle: FileHandle
  readonly size: number
  readonly modified: number

  constructor(handle: FileHandle, size: number, modified: number) {
    this.#handle = handle
    this.size = size
    this.modified = modified
  }

  async readInto(into: Buffer, position: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, position)).bytesRead
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}
