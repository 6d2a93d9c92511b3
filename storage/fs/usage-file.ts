import { type FileHandle, lstat, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { DiskIo } from './disk-io.ts'
import type { CountedUsage, UsageAmount } from './usage-counter.ts'

// A sector: it is written as a whole or not at all, and in its place, which a full disk takes as well.
const size = 512
// The keeping of the store itself, below .registry; a socket is no file.
const uncounted = new Set(['lock', 'owner', 'account', 'trial'])
// Looked at in one go; then others have as much time as that took.
const batch = 64

/** The file that holds a count. */
export class UsageFile {
  readonly #path: string
  readonly #disk: DiskIo
  #handle: FileHandle | undefined

  /** The file below `own`; it is made when something is saved. */
  constructor(own: string, disk: DiskIo) {
    this.#path = join(own, 'account')
    this.#disk = disk
  }

  /** What it says; undefined if nothing can be read there. */
  async load(): Promise<CountedUsage | undefined> {
    try {
      return parse(await readFile(this.#path, 'latin1'))
    } catch {
      return undefined
    }
  }

  /** Durable when it resolves. */
  save({ used: { bytes, inodes }, exact }: CountedUsage): Promise<void> {
    const text = JSON.stringify({ bytes, inodes, exact }).padEnd(size - 1)
    return this.#disk.write(async () => {
      this.#handle ??= await open(this.#path, 'r+').catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
        return open(this.#path, 'wx', 0o644)
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

/** What is below `root`, looked at slowly so that others do not notice. What vanishes meanwhile is passed over. */
export async function countTree(disk: DiskIo, root: string, own: string, signal: AbortSignal): Promise<UsageAmount> {
  const sum = { bytes: 0, inodes: 0 }
  const inside = async (directory: string): Promise<void> => {
    signal.throwIfAborted()
    const entries = await disk.read(() => readdir(directory, { withFileTypes: true })).catch(unlessGone)
    const files: string[] = []
    for (const entry of entries ?? []) {
      const path = join(directory, entry.name)
      if (entry.isDirectory()) {
        sum.inodes++
        await inside(path)
      } else if (entry.isFile() && !(directory === own && uncounted.has(entry.name))) files.push(path)
    }
    for (let at = 0; at < files.length; at += batch) {
      signal.throwIfAborted()
      const began = performance.now()
      const found = await disk.read(() => sumOf(files.slice(at, at + batch)))
      sum.bytes += found.bytes
      sum.inodes += found.inodes
      await delay(performance.now() - began, undefined, { signal })
    }
  }
  await inside(root)
  return sum
}

// One after another: together they would take all threads.
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
  const found = await lstat(path).catch(unlessGone)
  return found?.isFile() ? found.size : undefined
}

function unlessGone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR' && error.code !== 'ENAMETOOLONG') throw error
}
