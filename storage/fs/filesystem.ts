import { randomUUID } from 'node:crypto'
import { type FileHandle, stat, statfs, utimes } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createKeyedMutex } from '../keyed-mutex.ts'
import { ownNames, ownPrefix } from '../layout.ts'
import type { RateLimiter } from '../rate-limiter.ts'
import type { Durability, Key, ObjectStat, OpenObject, Shortage, StagedWriter, Storage, Usage, WalkEntry, Writer } from '../storage.ts'
import { ignoreAbsent } from './absent.ts'
import { type Claim, claimRoot } from './claim.ts'
import { Directories } from './directories.ts'
import { createAttempts, Files } from './files.ts'
import type { Limits } from './limits.ts'
import { byName, byWholeKey, readEntries } from './listing.ts'
import { OpenFile } from './open-file.ts'
import { SyncPacer } from './sync-pacing.ts'
import { type DiskUsage, Volume, type VolumeOptions } from './volume.ts'
import { FilesystemWriter } from './writer.ts'

// A block: a full disk still takes an empty file.
const trialBlock = Buffer.alloc(4096)
const defaultLimitBytes = 65_536

/** Options of storage in a directory. */
export interface FilesystemOptions extends VolumeOptions {
  /** Rate limit for the bytes of created objects; a `put` is exempt. */
  writeRate?: RateLimiter | undefined
  /** How long `open` waits for a disk that does not answer. */
  openTimeoutMs?: number | undefined
}

/** Objects as files below one directory, which this process owns while the storage is open. */
export class FilesystemStorage implements Storage {
  readonly sharing = 'alone'
  readonly root: string
  readonly #volume: Volume
  readonly #directories: Directories
  readonly #files: Files
  readonly #putsInPlace = createKeyedMutex()
  readonly #pacer = new SyncPacer()
  readonly #writeRate: RateLimiter | undefined
  readonly #claim: Claim

  private constructor(root: string, claim: Claim, volume: Volume, { writeRate }: FilesystemOptions) {
    this.root = root
    this.#claim = claim
    this.#volume = volume
    this.#writeRate = writeRate
    this.#directories = new Directories(root, volume)
    this.#files = new Files(volume, this.#directories)
  }

  /**
   * Claims `root` (for the errors see `claimRoot`). A read-only filesystem is opened too: what is there can be served.
   */
  static async open(root: string, options: FilesystemOptions = {}): Promise<FilesystemStorage> {
    const claim = await claimRoot(root, options.openTimeoutMs)
    try {
      return new FilesystemStorage(root, claim, await Volume.open(root, claim.own, claim.access, options), options)
    } catch (error) {
      claim.release()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#volume.close()
    // Releasing would block the main thread on a stalled disk. The kernel releases the lock when the process ends.
    if (this.#volume.disk.stalled.length === 0) this.#claim.release()
  }

  /** The kinds of calls that the disk does not answer. */
  get stalled(): Usage['stalled'] {
    return this.#volume.disk.stalled
  }

  /** Disk calls that have not returned. */
  get running(): number {
    return this.#volume.disk.running
  }

  /** The limits from now on. */
  set limits(limits: Limits) {
    this.#volume.limits.limits = limits
  }

  async open(key: Key): Promise<OpenObject | undefined> {
    return OpenFile.open(this.#volume.disk, this.path(key))
  }

  async stat(key: Key): Promise<ObjectStat | undefined> {
    const path = this.path(key)
    const found = await this.#volume.disk.read(() => stat(path)).catch(ignoreAbsent)
    return found?.isFile() ? { key, size: found.size, modified: found.mtimeMs } : undefined
  }

  async get(key: Key, limitBytes = defaultLimitBytes): Promise<Buffer | undefined> {
    const file = await this.open(key)
    if (!file) return undefined
    try {
      if (file.size > limitBytes)
        throw Object.assign(new Error(`${key} has ${file.size} bytes, at most ${limitBytes} are expected`), { code: 'EFBIG' })
      const bytes = Buffer.allocUnsafe(file.size)
      let length = 0
      for (let read = -1; read !== 0 && length < bytes.length; length += read) read = await file.readInto(bytes.subarray(length), length)
      return bytes.subarray(0, length)
    } finally {
      await file.close()
    }
  }

  async put(key: Key, bytes: Uint8Array, durability: Durability = 'durable'): Promise<void> {
    if (durability === 'soon') return this.#putInPlace(key, bytes)
    const temporary = temporaryKey()
    const writer = this.#writer(temporary, await this.#files.create(this.path(temporary)), 0, 'exempt')
    try {
      await writer.write([bytes])
      await writer.publish(key)
    } catch (error) {
      await writer.discard().catch(() => {})
      throw error
    }
  }

  // Without a rename and a sync, which is much cheaper. Two at once would mix their bytes, and count them twice.
  #putInPlace(key: Key, bytes: Uint8Array): Promise<void> {
    return this.#putsInPlace(key, async () => {
      const writer = await this.#createRetrying(key)
      try {
        await writer.write([bytes])
      } finally {
        await writer.close()
      }
    })
  }

  // A concurrent remove may prune the empty directory in which the file is created.
  async #createRetrying(key: Key): Promise<Writer> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.create(key)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === createAttempts) throw error
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

  // The reader has a handle of its own, which a rename or a removal leaves as it is.
  async stage(to: Key): Promise<StagedWriter> {
    this.path(to)
    const writer = await this.create(temporaryKey())
    try {
      const reader = await this.open(writer.key)
      if (reader) return Object.assign(writer, { reader })
      throw new Error(`${writer.key} vanished while it was created`)
    } catch (error) {
      await writer.discard()
      throw error
    }
  }

  async move(from: Key, to: Key): Promise<boolean> {
    const [source, target] = [this.path(from), this.path(to)]
    // Renaming a directory would move all objects below it.
    const found = await this.stat(from)
    if (!found) return false
    try {
      await this.#files.renameDurably(source, target, found.size)
    } catch (error) {
      if ((await this.stat(from)) || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      return false
    }
    await this.#directories.sync(dirname(source)).catch(ignoreAbsent)
    return true
  }

  #writer(key: Key, handle: FileHandle, offset: number, limits: 'limited' | 'exempt'): Writer {
    const { disk, counter } = this.#volume
    const context = {
      disk,
      counter,
      files: this.#files,
      directories: this.#directories,
      pacer: this.#pacer,
      ...(limits === 'limited' ? { limits: this.#volume, share: this.#writeRate?.share() } : {}),
      path: (each: Key) => this.path(each)
    }
    return new FilesystemWriter(context, key, handle, offset)
  }

  async *walk(prefix: Key, after = ''): AsyncIterable<WalkEntry> {
    yield* byName(await readEntries(this.#volume.disk, prefix, this.path(prefix)), after)
  }

  async *list(prefix: Key, after = ''): AsyncIterable<ObjectStat> {
    for (const { key, kind } of byWholeKey(await readEntries(this.#volume.disk, prefix, this.path(prefix)), after)) {
      if (kind === 'prefix') yield* this.list(key, after)
      else {
        const object = await this.stat(key)
        if (object) yield object
      }
    }
  }

  async touch(keys: readonly Key[]): Promise<void> {
    const now = new Date()
    const { disk } = this.#volume
    const paths = keys.map(key => this.path(key))
    await Promise.all(paths.map(path => disk.write(() => utimes(path, now, now)).catch(ignoreAbsent)))
  }

  async remove(keys: readonly Key[], under?: Key): Promise<void> {
    const stop = under === undefined ? undefined : this.path(under)
    const remaining = new Set<string>()
    for (const path of keys.map(key => this.path(key))) {
      await this.#files.remove(path).catch(ignoreAbsent)
      remaining.add(await this.#prune(dirname(path), stop))
    }
    for (const directory of remaining) await this.#directories.sync(directory).catch(ignoreAbsent)
  }

  // Removes empty directories upwards, but not `stop`; resolves to the first that remains.
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
    await this.#volume.disk.read(() => statfs(this.root))
  }

  async checkWritable(): Promise<void> {
    const shortage = await this.shortage(trialBlock.length)
    // A full disk reports itself.
    if (shortage && shortage.limit !== 'disk') throw Object.assign(new Error(shortage.reason), { code: 'EDQUOT' })
    const writer = await this.create(temporaryKey())
    try {
      await writer.write([trialBlock])
    } finally {
      await writer.discard()
    }
  }

  usage(): Promise<DiskUsage> {
    return this.#volume.usage()
  }

  shortage(bytes: number): Promise<Shortage | undefined> {
    return this.#volume.shortage(bytes)
  }

  recount(signal: AbortSignal): Promise<void> {
    return this.#volume.recount(signal)
  }

  /** The file of a key. Keys are built from parsed names; one that leads out of the root is a programming error. */
  path(key: Key): string {
    if (key.includes('\0') || key.split('/').some(part => part === '' || part === '.' || part === '..'))
      throw new Error(`not a key: ${JSON.stringify(key)}`)
    return `${this.root}/${key}`
  }
}

function temporaryKey(): Key {
  return `${ownPrefix}/${ownNames.temporary}/${randomUUID()}`
}
