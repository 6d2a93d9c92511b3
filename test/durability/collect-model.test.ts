import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { Sequence } from './sequence.ts'

const steps = 60

test(`collect: whatever happens in whatever order, nothing that is needed goes and all else does (${repeat})`, { timeout: 0 }, async t => {
  const only = process.env['REGISTRY_TEST_ROUND']
  for (let round = Number(only ?? 0); round < (only === undefined ? scale.collectRounds : Number(only) + 1); round++) {
    // A process that dies loses nothing of what the kernel has, so that memory is as good as a disk.
    const root = await mkdtemp(join(process.platform === 'linux' ? '/dev/shm' : tmpdir(), 'collect-'))
    try {
      await new Sequence(root, new Random(seed + round * 7919)).run(steps)
    } catch (error) {
      t.fail(`round ${round}`, { found: (error as Error).stack ?? '' })
      if (process.env['REGISTRY_TEST_KEEP']) return
    } finally {
      await rm(root, { recursive: true, force: true })
    }
    if (!t.passing()) return
  }
  t.pass(`${scale.collectRounds} sequences of ${steps} steps`)
})
