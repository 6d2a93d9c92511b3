import { fsyncSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { mountLoop, mountSmall } from './place.ts'

/** A disk that somebody else has filled. */
export interface Narrow {
  /** Where a registry may have its root; it does not exist. */
  root: string
  /** From now on there is room for so many blocks, or inodes, more; others took the rest. */
  leave(rooms: number): void
}

const block = 4096
const mib = 2 ** 20

/** What can run out. On a tmpfs a new name takes no block, on ext4 a directory does, and what is freed comes back with the next commit of its journal. */
export const media = {
  'the blocks of a tmpfs': async t => filledWithBytes(await mountSmall(t, 16 * mib)),
  'the inodes of a tmpfs': async t => filledWithFiles(await mountSmall(t, 64 * mib, 2_000)),
  'the blocks of an ext4': async t => filledWithBytes(await mountLoop(t, 24 * mib))
} as const satisfies Record<string, (t: Test) => Promise<Narrow | string>>

function filledWithBytes(mounted: { directory: string } | string): Narrow | string {
  if (typeof mounted === 'string') return mounted
  const file = openSync(join(mounted.directory, 'of-others'), 'w')
  let size = 0
  const leave = (rooms: number) => {
    for (const length of [64 * block, block]) {
      const piece = Buffer.alloc(length, 1)
      for (; fits(() => writeWhole(file, piece, size)); size += length);
      fsyncSync(file)
    }
    size = Math.max(0, size - rooms * block)
    ftruncateSync(file, size)
    fsyncSync(file)
  }
  return { root: join(mounted.directory, 'root'), leave }
}

// What fits only in part leaves the file as long as it was.
function writeWhole(file: number, piece: Buffer, at: number): void {
  try {
    for (let written = 0; written < piece.length; ) written += writeSync(file, piece, written, piece.length - written, at + written)
  } catch (error) {
    ftruncateSync(file, at)
    throw error
  }
}

function filledWithFiles(mounted: { directory: string } | string): Narrow | string {
  if (typeof mounted === 'string') return mounted
  const directory = join(mounted.directory, 'of-others')
  mkdirSync(directory)
  const place = openSync(directory, 'r')
  let count = 0
  const leave = (rooms: number) => {
    for (; fits(() => writeFileSync(join(directory, `${count}`), '')); count++);
    for (let left = rooms; left > 0 && count > 0; left--) rmSync(join(directory, `${--count}`))
    fsyncSync(place)
  }
  return { root: join(mounted.directory, 'root'), leave }
}

function fits(task: () => void): boolean {
  try {
    task()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return false
    throw error
  }
}
