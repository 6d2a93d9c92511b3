import { type FileHandle, lstat, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ownModes, ownNames, uncountedNames } from '../layout.ts'
import { ignoreAbsent } from './absent.ts'
import type { DiskIo } from './disk-io.ts'
import type { CountedUsage, UsageAmount } from './usage-counter.ts'

// A sector: it is written whole or not at all, and in place, which works on a full disk too.
const recordBytes = 512
const batchSize = 64

/** The file that stores a count. */
export class UsageFile {
  readonly #path: string
  readonly #disk: DiskIo
  #handle: FileHandle | undefined

  /** A file in the directory `own`, created by the first `save`. */
  constructor(own: string, disk: DiskIo) {
    this.#path = join(own, ownNames.usage)
    this.#disk = disk
  }

  /** The stored count; undefined if there is none that can be read. */
  async load(): Promise<CountedUsage | undefined> {
    try {
      return parse(await readFile(this.#path, 'latin1'))
    } catch {
      return undefined
    }
  }

  /** Durable when it resolves. */
  save({ used: { bytes, inodes }, exact }: CountedUsage): Promise<void> {
    const text = JSON.stringify({ bytes, inodes, exact }).padEnd(recordBytes - 1)
    return this.#disk.write(async () => {
      this.#handle ??= await open(this.#path, 'r+').catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
        return open(this.#path, 'wx', ownModes.file)
      })
      await this.#handle.write(`${text}\n`, 0, 'latin1')
      await this.#handle.datasync()
    })
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }
}

function parse(text: string): CountedUsage | undefined {
  const { bytes, inodes, exact } = JSON.parse(text) as Record<string, unknown>
  if (!isCount(bytes) || !isCount(inodes) || typeof exact !== 'boolean') return undefined
  return { used: { bytes, inodes }, exact }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}

/** What the tree below `root` uses, but for the own files directly in `own`. Yields, so that requests do not notice. */
export async function countTree(disk: DiskIo, root: string, own: string, signal: AbortSignal): Promise<UsageAmount> {
  const sum = { bytes: 0, inodes: 0 }
  const countDirectory = async (directory: string): Promise<void> => {
    signal.throwIfAborted()
    const entries = await disk.read(() => readdir(directory, { withFileTypes: true })).catch(ignoreAbsent)
    const files: string[] = []
    for (const entry of entries ?? []) {
      const path = join(directory, entry.name)
      if (entry.isDirectory()) {
        sum.inodes++
        await countDirectory(path)
      } else if (entry.isFile() && !(directory === own && uncountedNames.has(entry.name))) files.push(path)
    }
    for (let at = 0; at < files.length; at += batchSize) {
      signal.throwIfAborted()
      const began = performance.now()
      const found = await disk.read(() => sumOf(files.slice(at, at + batchSize)))
      sum.bytes += found.bytes
      sum.inodes += found.inodes
      // Leaves the disk to requests for as long as the batch took.
      await delay(performance.now() - began, undefined, { signal })
    }
  }
  await countDirectory(root)
  return sum
}

// In sequence: in parallel they would take all threads.
async function sumOf(files: readonly string[]): Promise<UsageAmount> {
  const sum = { bytes: 0, inodes: 0 }
  for (const file of files) {
    const bytes = await fileSize(file)
    if (bytes === undefined) continue
    sum.bytes += bytes
    sum.inodes++
  }
  return sum
}

/** Bytes of a file; undefined if there is none. */
export async function fileSize(path: string): Promise<number | undefined> {
  const found = await lstat(path).catch(ignoreAbsent)
  return found?.isFile() ? found.size : undefined
}
