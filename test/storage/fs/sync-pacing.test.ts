import { test } from 'tap'
import { PacedFile, SyncPacer } from '../../../storage/fs/sync-pacing.ts'
import { createTestClock } from '../../support/clock.ts'
import { turns } from '../contract-test.ts'

const mib = 1024 * 1024

/** A disk whose syncs end when the test says so, by a clock that the test winds. */
function setUp() {
  const clock = createTestClock()
  const running: PromiseWithResolvers<void>[] = []
  let most = 0
  let syncs = 0
  const datasync = async () => {
    const gate = Promise.withResolvers<void>()
    running.push(gate)
    most = Math.max(most, running.length)
    syncs++
    await gate.promise
  }
  const end = async (took: number, error?: Error) => {
    await clock.advance(took)
    const gate = running.shift()
    if (error) gate?.reject(error)
    else gate?.resolve()
    await turns(3)
  }
  const pacer = new SyncPacer(clock)
  const file = (offset = 0) => new PacedFile(pacer, offset, datasync)
  return { pacer, file, end, counts: () => ({ running: running.length, most, syncs }) }
}

/** Whether a promise is still pending. */
async function waits(work: Promise<void>): Promise<boolean> {
  let over = false
  void work.finally(() => {
    over = true
  })
  await turns(3)
  return !over
}

test('pacing: a small file is not synced before its end', async t => {
  const { file, counts } = setUp()
  const small = file()
  for (let at = 0; at < 3; at++) await small.wrote(mib)
  await small.settled()
  t.equal(counts().syncs, 0)
})

test('pacing: a file that grows is synced beside its writes, one sync at a time, and waits before it is two steps ahead', async t => {
  const { file, end, counts } = setUp()
  const large = file()
  for (let at = 0; at < 7; at++) await large.wrote(mib)
  t.match(counts(), { running: 1, syncs: 1 })
  const eighth = large.wrote(mib)
  t.ok(await waits(eighth), 'the second step waits for the first')
  t.equal(counts().syncs, 1)
  await end(5)
  await eighth
  t.match(counts(), { running: 1, most: 1, syncs: 2 })
  await end(5)
  await large.settled()
})

test('pacing: files together sync one after another', async t => {
  const { file, end, counts } = setUp()
  const files = Array.from({ length: 5 }, () => file())
  for (const each of files) await each.wrote(4 * mib)
  for (let at = 0; at < 5; at++) await end(5)
  await Promise.all(files.map(each => each.settled()))
  t.match(counts(), { running: 0, most: 1, syncs: 5 })
})

test('pacing: every later call reports a sync that failed, and none is repeated', async t => {
  const { file, end, counts } = setUp()
  const [bad, good] = [file(), file()]
  await bad.wrote(4 * mib)
  await end(5, Object.assign(new Error('EIO'), { code: 'EIO' }))
  for (let at = 0; at < 3; at++) {
    await t.rejects(bad.wrote(8 * mib), { code: 'EIO' })
    await t.rejects(bad.settled(), { code: 'EIO' })
  }
  t.equal(counts().syncs, 1)
  await good.wrote(4 * mib)
  await end(5)
  await good.settled()
})

test('pacing: a quick disk gets more at once, a slow one less, both within limits', async t => {
  const { pacer, file, end } = setUp()
  const steps: number[] = []
  for (const took of [1, 1, 1, 5, 100, 100, 100, 100]) {
    await file().wrote(16 * mib)
    await end(took)
    steps.push(pacer.stepBytes / mib)
  }
  t.strictSame(steps, [8, 16, 16, 16, 8, 4, 2, 2])
})

test('pacing: a file that grows in small requests is synced as often as in one', async t => {
  const { file, end, counts } = setUp()
  for (let offset = 0; offset < 12; offset++) {
    const resumed = file(offset * mib)
    await resumed.wrote(mib)
    if (counts().running > 0) await end(5)
    await resumed.settled()
  }
  t.equal(counts().syncs, 3)
})
