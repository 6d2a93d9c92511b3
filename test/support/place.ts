import { execFile, execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const run = promisify(execFile)

/** What ends at some time, and then runs what it was given: a test, or something like it. */
export interface Ending {
  teardown(task: () => unknown): unknown
}

/** A new directory that is removed when the test ends. */
export async function temporaryDirectory(t: Ending): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'registry-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }))
  return directory
}

/** A filesystem of its own, for what only a full or a read-only one shows. */
export interface Mounted {
  directory: string
  /** Mounts it anew with other options, e.g. `ro`. */
  remount(options: string): Promise<void>
}

/** Mounts a small tmpfs, with so many inodes or any number, until the test ends; the reason to skip where this process may not mount. */
export async function mountSmall(t: Test, bytes: number, inodes = 0): Promise<Mounted | string> {
  const directory = await mkdtemp(join(tmpdir(), 'registry-small-'))
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},nr_inodes=${inodes},mode=0755`, 'tmpfs', directory])
  } catch (error) {
    await rm(directory, { recursive: true })
    return `no small filesystem can be mounted here (${error instanceof Error ? error.message.trim() : error})`
  }
  t.teardown(async () => {
    await run('umount', ['-l', directory])
    await rm(directory, { recursive: true })
  })
  return { directory, remount: async options => void (await run('mount', ['-o', `remount,${options}`, directory])) }
}

/** Mounts an ext4 from a file until the test ends; the reason to skip where this process may not do that. */
export async function mountLoop(t: Test, bytes: number): Promise<Pick<Mounted, 'directory'> | string> {
  const place = await mkdtemp(join(tmpdir(), 'registry-loop-'))
  const [image, directory] = [join(place, 'image'), join(place, 'mounted')]
  try {
    await mkdir(directory)
    await run('truncate', ['-s', `${bytes}`, image])
    await run('mkfs.ext4', ['-q', '-m', '0', '-b', '4096', image])
    await run('mount', ['-o', 'loop', image, directory])
  } catch (error) {
    await rm(place, { recursive: true })
    return `no ext4 can be mounted here (${error instanceof Error ? error.message.trim() : error})`
  }
  t.teardown(async () => {
    await run('umount', ['-l', directory])
    await rm(place, { recursive: true })
  })
  return { directory }
}

/** A filesystem that can be frozen: whoever writes to it waits in the kernel until it is thawed. */
export interface Freezable {
  directory: string
  freeze(): void
  thaw(): void
}

/** Mounts an ext4 from a file until the test ends, when it is thawed; the reason to skip where this process may not do that. */
export async function mountFreezable(t: Test): Promise<Freezable | string> {
  const place = await mkdtemp(join(tmpdir(), 'registry-frozen-'))
  const [image, directory] = [join(place, 'image'), join(place, 'mounted')]
  let frozen = false
  const turn = (flag: '-f' | '-u') => {
    execFileSync('fsfreeze', [flag, directory], { stdio: 'pipe' })
    frozen = flag === '-f'
  }
  try {
    await mkdir(directory)
    await run('truncate', ['-s', '64M', image])
    await run('mkfs.ext4', ['-q', image])
    await run('mount', ['-o', 'loop', image, directory])
    t.teardown(async () => {
      if (frozen) turn('-u')
      await run('umount', ['-l', directory])
      await rm(place, { recursive: true })
    })
    turn('-f')
    turn('-u')
    return { directory, freeze: () => turn('-f'), thaw: () => turn('-u') }
  } catch (error) {
    return `no filesystem can be frozen here (${error instanceof Error ? error.message.trim() : error})`
  }
}
