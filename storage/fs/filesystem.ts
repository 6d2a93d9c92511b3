import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { access, type FileHandle, open, readdir, stat, statfs, unlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createKeyedMutex } from '../keyed-mutex.ts'
import type { RateLimiter } from '../rate-limiter.ts'
import type { Durability, Key, ObjectStat, OpenObject, Shortage, StagedWriter, Storage, Usage, WalkEntry, Writer } from '../storage.ts'
import { Directories, makeDirectories, syncDirectory } from './directories.ts'
import { Files } from './files.ts'
import type { Limits } from './limits.ts'
import { lockDirectory } from './lock.ts'
import { OpenFile } from './open-file.ts'
import { StagedFile } from './staged-file.ts'
import { SyncPacer } from './sync-pacing.ts'
import { type DiskUsage, Volume, type VolumeOptions } from './volume.ts'
import { FilesystemWriter, ignoreAbsent, renameDurably } from './writer.ts'

/** What is only ours, beside the tree that other registries know. */
export const ownPrefix = '.registry'

// A block: a full disk still takes an empty file.
const probe = Buffer.alloc(4096)
const attempts = 10

/** What a directory may be asked to do. */
export interface FilesystemOptions extends VolumeOptions {
  /** For the bytes of objects that are created; what is `put` is exempt. */
  writeRate?: RateLimiter | undefined
  /** How long it is waited for a disk that does not answer at first, in ms. */
  openTimeoutMs?: number | undefined
}

const usualPatience = 10_000

/** Objects as files below one directory, which belongs to this process as long as it is open. */
export class FilesystemStorage implements Storage {
  readonly sharing = 'alone'
  readonly root: string
  readonly #keeping: Volume
  readonly #directories: Directories
  readonly #files: Files
  readonly #soon = createKeyedMutex()
  readonly #pacing = new SyncPacer()
  readonly #writing: RateLimiter | undefined
  readonly #unlock: () => void

  private constructor(root: string, keeping: Volume, { writeRate: writing }: FilesystemOptions, unlock: () => void) {
    this.root = root
    this.#writing = writing
    this.#keeping = keeping
    this.#directories = new Directories(root, keeping)
    this.#files = new Files(keeping, this.#directories)
    this.#unlock = unlock
  }

  /**
   * Takes `root` into possession, creating it if need be. Rejects with a LockedError if another process owns it, with the code `ESTALLED` if its disk does not answer,
   * and with the system call's error if it cannot be written; a filesystem that is mounted read-only is opened all the same, since what is there can still be served.
   */
  static async open(root: string, options: FilesystemOptions = {}): Promise<FilesystemStorage> {
    const own = join(root, ownPrefix)
    try {
      await inTime(root, prepare(own), options.openTimeoutMs)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EROFS')
        return new FilesystemStorage(root, await Volume.open(root, own, 'read-only', options), options, () => {})
      throw error
    }
    const unlock = lockDirectory(own)
    try {
      return new FilesystemStorage(root, await Volume.open(root, own, 'ours', options), options, unlock)
    } catch (error) {
      unlock()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#keeping.close()
    // Letting go waits for the disk in the one thread that answers. The kernel lets go when the process ends.
    if (this.#keeping.disk.stalled.length === 0) this.#unlock()
  }

  /** What the disk does not answer. */
  get stalled(): Usage['stalled'] {
    return this.#keeping.disk.stalled
  }

  /** Calls to the disk that have not returned. */
  get running(): number {
    return this.#keeping.disk.running
  }

  /** What the store may take from now on. */
  set limits(limits: Limits) {
    this.#keeping.limits.limits = limits
  }

  async open(key: Key): Promise<OpenObject | undefined> {
    return OpenFile.open(this.#keeping.disk, this.path(key))
  }

  async stat(key: Key): Promise<ObjectStat | undefined> {
    const path = this.path(key)
    const found = await this.#keeping.disk.read(() => stat(path)).catch(ignoreAbsent)
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

  async put(key: Key, bytes: Uint8Array, promise: Durability = 'durable'): Promise<void> {
    if (promise === 'soon') return this.#putSoon(key, bytes)
    const temporary = `${ownPrefix}/tmp/${randomUUID()}`
    const writer = this.#writer(temporary, await this.#files.create(this.path(temporary)), 0, 'exempt')
    try {
      await writer.write([bytes])
      await writer.publish(key)
    } catch (error) {
      await writer.discard().catch(() => {})
      throw error
    }
  }

  // In its place and without a sync, which is much cheaper. Two at once would mix their bytes, and count them twice.
  #putSoon(key: Key, bytes: Uint8Array): Promise<void> {
    return this.#soon(key, async () => {
      const writer = await this.#createAgain(key)
      try {
        await writer.write([bytes])
      } finally {
        await writer.close()
      }
    })
  }

  // Somebody may remove the empty directory in which the file was to lie.
  async #createAgain(key: Key): Promise<Writer> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.create(key)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === attempts) throw error
      }
    }
  }

  async ensurePrefix(prefix: Key): Promise<void> {
    await this.#directories.ensure(this.path(prefix))
  }

  async create(key: Key): Promise<Writer> {
    return this.#writer(key, await this.#files.create(this.path(key)), 0, 'limited')
  }

  async resume(key: Key): Promise<Writer | undefined> {
    const found = await this.#files.resume(this.path(key)).catch(ignoreAbsent)
    return found && this.#writer(key, found.handle, found.size, 'limited')
  }

  statUnfinished(key: Key): Promise<ObjectStat | undefined> {
    return this.stat(key)
  }

  async stage(to: Key): Promise<StagedWriter> {
    this.path(to)
    const key = `${ownPrefix}/tmp/${randomUUID()}`
    const writer = await this.create(key)
    try {
      const written = await this.open(key)
      if (written) return new StagedFile(writer, written)
      throw new Error(`${key} vanished while it was created`)
    } catch (error) {
      await writer.discard()
      throw error
    }
  }

  async move(from: Key, to: Key): Promise<boolean> {
    const [source, target] = [this.path(from), this.path(to)]
    // Renaming a directory would move objects that nobody named.
    const found = await this.stat(from)
    if (!found) return false
    const place = { directories: this.#directories, files: this.#files }
    try {
      await renameDurably(place, source, target, { bytes: found.size, inodes: 1 })
    } catch (error) {
      if ((await this.stat(from)) || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      return false
    }
    await this.#directories.sync(dirname(source)).catch(ignoreAbsent)
    return true
  }

  #writer(key: Key, handle: FileHandle, offset: number, limits: 'limited' | 'exempt'): Writer {
    const { disk, counter } = this.#keeping
    const place = {
      disk,
      counter,
      files: this.#files,
      directories: this.#directories,
      pacing: this.#pacing,
      ...(limits === 'limited' ? { limits: this.#keeping, share: this.#writing?.share() } : {}),
      path: (each: Key) => this.path(each)
    }
    return new FilesystemWriter(place, key, handle, offset)
  }

  async *walk(prefix: Key, after = ''): AsyncIterable<WalkEntry> {
    const path = this.path(prefix)
    const found = (await this.#keeping.disk.read(() => readdir(path, { withFileTypes: true })).catch(ignoreAbsent)) ?? []
    const entries = found.filter(entry => entry.name > after && (entry.isFile() || entry.isDirectory()))
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const entry of entries) {
      yield { key: `${prefix}/${entry.name}`, name: entry.name, kind: entry.isFile() ? 'object' : 'prefix' }
    }
  }

  async *list(prefix: Key, after = ''): AsyncIterable<ObjectStat> {
    const path = this.path(prefix)
    const found = (await this.#keeping.disk.read(() => readdir(path, { withFileTypes: true })).catch(ignoreAbsent)) ?? []
    // In the order of whole keys what is below `a` comes after `a-b`.
    const entries = found
      .filter(entry => entry.isFile() || entry.isDirectory())
      .map(entry => ({ key: `${prefix}/${entry.name}`, end: entry.isFile() ? '' : '/' }))
      .filter(({ key, end }) => key + end > after || (end !== '' && after.startsWith(key + end)))
      .sort((a, b) => (a.key + a.end < b.key + b.end ? -1 : 1))
    for (const { key, end } of entries) {
      if (end !== '') yield* this.list(key, after)
      else {
        const object = await this.stat(key)
        if (object) yield object
      }
    }
  }

  async touch(keys: readonly Key[]): Promise<void> {
    const now = new Date()
    const { disk } = this.#keeping
    const paths = keys.map(key => this.path(key))
    await Promise.all(paths.map(path => disk.write(() => utimes(path, now, now)).catch(ignoreAbsent)))
  }

  async remove(keys: readonly Key[], under?: Key): Promise<void> {
    const stop = under === undefined ? undefined : this.path(under)
    const left = new Set<string>()
    for (const path of keys.map(key => this.path(key))) {
      await this.#files.remove(path).catch(ignoreAbsent)
      left.add(await this.#prune(dirname(path), stop))
    }
    for (const directory of left) await this.#directories.sync(directory).catch(ignoreAbsent)
  }

  // Removes empty directories upwards, but not `stop`; gives the one that stays.
  async #prune(from: string, stop: string | undefined): Promise<string> {
    if (stop === undefined) return from
    let each = from
    for (; each.startsWith(`${stop}/`); each = dirname(each)) {
      if (await this.#files.removeDirectory(each)) break
      this.#directories.forget(each)
    }
    return each
  }

  async check(): Promise<void> {
    await this.#keeping.disk.read(() => statfs(this.root))
  }

  async checkWritable(): Promise<void> {
    const shortage = await this.shortage(probe.length)
    // What the disk has left it says itself.
    if (shortage && shortage.limit !== 'disk') throw Object.assign(new Error(shortage.reason), { code: 'EDQUOT' })
    const writer = await this.create(`${ownPrefix}/tmp/${randomUUID()}`)
    try {
      await writer.write([probe])
    } finally {
      await writer.discard()
    }
  }

  usage(): Promise<DiskUsage> {
    return this.#keeping.usage()
  }

  shortage(bytes: number): Promise<Shortage | undefined> {
    return this.#keeping.shortage(bytes)
  }

  recount(signal: AbortSignal): Promise<void> {
    return this.#keeping.recount(signal)
  }

  /** The file of a key. Keys are built from parsed names only; one that leads elsewhere is a fault of ours, and stops here. */
  path(key: Key): string {
    if (key.includes('\0') || key.split('/').some(part => part === '' || part === '.' || part === '..'))
      throw new Error(`not a key: ${JSON.stringify(key)}`)
    return `${this.root}/${key}`
  }
}

async function prepare(own: string): Promise<void> {
  const first = await makeDirectories(own)
  if (first !== undefined) await syncNames(own, first)
  await access(own, constants.W_OK)
  // The lock is taken in the one thread there is, which a disk that is frozen would hold for ever. What else is wrong is told where it matters.
  await touchTrial(join(own, 'trial')).catch(() => {})
}

async function touchTrial(path: string): Promise<void> {
  await (await open(path, 'w')).close()
  await unlink(path)
}

async function inTime(root: string, task: Promise<void>, patience = usualPatience): Promise<void> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    const text = `the disk of ${root} has not answered for ${patience / 1000} s: the registry cannot start before it does`
    late.reject(Object.assign(new Error(text), { code: 'ESTALLED' }))
  }, patience)
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
