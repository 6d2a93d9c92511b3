import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { FilesystemStorage } from '../../storage/fs/filesystem.ts'
import { S3Storage } from '../../storage/s3/s3.ts'
import type { Storage } from '../../storage/storage.ts'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { s3Options, startS3 } from '../support/s3-server.ts'
import { Sequence } from './sequence.ts'

const steps = 60

/** A store of one sequence: what outlives a process, and its end. */
interface Place {
  open: () => Promise<Storage>
  remove: () => Promise<void>
}

async function sequences(t: Test, rounds: number, sideBySide: number, place: () => Promise<Place>): Promise<void> {
  const only = process.env['REGISTRY_TEST_ROUND']
  const last = only === undefined ? rounds : Number(only) + 1
  let next = Number(only ?? 0)
  const worker = async () => {
    while (next < last && t.passing()) await sequence(t, next++, place)
  }
  await Promise.all(Array.from({ length: sideBySide }, worker))
  if (t.passing()) t.pass(`${rounds} sequences of ${steps} steps`)
}

async function sequence(t: Test, round: number, place: () => Promise<Place>): Promise<void> {
  const { open, remove } = await place()
  try {
    await new Sequence(open, new Random(seed + round * 7919)).run(steps)
  } catch (error) {
    t.fail(`round ${round}`, { found: (error as Error).stack ?? '' })
    if (process.env['REGISTRY_TEST_KEEP']) return
  } finally {
    await remove()
  }
}

test(`collect: whatever happens in whatever order, reachable content is kept and all other is removed (${repeat})`, { timeout: 0 }, t =>
  sequences(t, scale.collectRounds, 1, async () => {
    // A process that dies loses nothing of what the kernel has, so that memory is as good as a disk.
    const root = await mkdtemp(join(process.platform === 'linux' ? '/dev/shm' : tmpdir(), 'collect-'))
    return { open: () => FilesystemStorage.open(root), remove: () => rm(root, { recursive: true, force: true }) }
  })
)

test(`collect: in a bucket too, reachable content is kept and all other is removed (${repeat})`, { timeout: 0 }, async t => {
  const server = await startS3(t)
  if (!server) return
  // Each waits for the service most of the time.
  await sequences(t, scale.bucket.collectRounds, 6, async () => {
    const options = await s3Options(t, server)
    return { open: () => S3Storage.open(options), remove: () => rm(join(server.root, options.bucket), { recursive: true }) }
  })
})
