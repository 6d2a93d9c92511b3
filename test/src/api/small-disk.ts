import { execFileSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { folder } from '../support.ts'

const MIB = 1024 * 1024

/** Why this machine cannot mount a filesystem for a test; false if it can. For `skip`. */
export const cannotMount: string | false = reasonNotToMount()

function reasonNotToMount(): string | false {
  if (process.getuid?.() !== 0) return 'only root can mount a filesystem'
  const place = realpathSync(mkdtempSync(join(tmpdir(), 'mount-')))
  try {
    mount(place)
    umount(place)
    return false
  } catch (error) {
    return `a filesystem cannot be mounted here: ${(error as Error).message.split('\n', 1)[0]}`
  } finally {
    rmSync(place, { recursive: true })
  }
}

function mount(place: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', place], { stdio: 'pipe' })
}

function umount(place: string): void {
  execFileSync('umount', ['--lazy', place], { stdio: 'pipe' })
}

/** A filesystem of 8 MiB of its own. */
export class SmallDisk {
  readonly path: string
  readonly #filler: string

  constructor(t: Test) {
    this.path = join(folder(t), '')
    mount(this.path)
    t.teardown(() => umount(this.path))
    this.#filler = join(this.path, 'filler')
  }

  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path)
    return bavail * bsize
  }

  /** Leaves no block free. */
  async fill(): Promise<void> {
    await writeFile(this.#filler, Buffer.alloc(16 * MIB)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOSPC') throw error
    })
  }

  /** Gives back what `fill` took. */
  async clear(): Promise<void> {
    await rm(this.#filler)
  }

  /** Mounts it anew as `ro` or `rw`. */
  remount(as: 'ro' | 'rw'): void {
    execFileSync('mount', ['-o', `remount,${as}`, this.path], { stdio: 'pipe' })
  }
}
