import { type Test, test } from 'tap'
import type { FillSource } from '../../../../src/content/fill/fill.ts'
import { type FillEvent, Fills } from '../../../../src/content/fill/fills.ts'
import { digestOf } from '../../../../src/oci/digest.ts'
import { blobText, named, neverAborted, openFor } from '../../../support/content.ts'
import { keysBelow } from '../../../support/storage.ts'

const [app, other] = [named('app'), named('other')]

async function place(t: Test) {
  const { content, storage } = await openFor(t)
  const ended: FillEvent[] = []
  const clock = { at: 0 }
  const fills = new Fills(storage, content.commit, event => void ended.push(event), { now: () => clock.at })
  t.teardown(() => fills.close())
  const start = (text: string, open: (signal: AbortSignal) => Promise<FillSource>, maxFills = 8) =>
    fills.start({ digest: digestOf(Buffer.from(text)), name: app, upstream: 'host/path', maxFills }, open)
  return { content, storage, fills, ended, clock, start }
}

/** A source that sends `chunks`; all but the first wait for `after`. */
function sourceOf(chunks: readonly string[], { size, after }: { size?: number; after?: Promise<unknown> } = {}) {
  const seen = { cancelled: 0 }
  async function* all() {
    for (const [index, chunk] of chunks.entries()) {
      if (index > 0) await after
      yield Buffer.from(chunk)
    }
  }
  const source = { chunks: all(), cancel: () => void seen.cancelled++, ...(size === undefined ? {} : { size }) }
  return { seen, open: async () => source }
}

const long = 'x'.repeat(20_000)

test('fill: a blob is stored and linked and has a provenance record when its bytes are verified', async t => {
  const { content, ended, start } = await place(t)
  const fill = start(long, sourceOf([long], { size: long.length }).open)
  t.equal(await fill?.opened, long.length)
  t.equal(await fill?.done, 'stored')
  t.equal(await blobText(content, app, digestOf(Buffer.from(long))), long)
  t.equal(await content.provenance.get(app, digestOf(Buffer.from(long))), 'host/path')
  t.match(ended, [{ result: 'stored', bytes: long.length, upstream: 'host/path' }])
})

test('fill: the blob is linked in all repositories that were allowed while it ran', async t => {
  const { content, start } = await place(t)
  const held = Promise.withResolvers<void>()
  const fill = start(long, sourceOf([long.slice(0, 10), long.slice(10)], { after: held.promise }).open)
  await fill?.opened
  t.equal(fill?.allows(other), false)
  fill?.allow(other)
  t.equal(fill?.allows(other), true)
  held.resolve()
  await fill?.done
  t.equal(await blobText(content, other, digestOf(Buffer.from(long))), long)
})

for (const [what, chunks, size] of [
  ['other bytes', [`y${long.slice(1)}`], long.length],
  ['other bytes of unknown size', [`y${long.slice(1)}`], undefined],
  ['fewer bytes', [long.slice(1)], long.length],
  ['more bytes', [long, 'x'], long.length]
] as const) {
  test(`fill: ${what} are wrong: nothing is stored, and readers do not get the end`, async t => {
    const { storage, ended, start } = await place(t)
    const fill = start(long, sourceOf(chunks, size === undefined ? {} : { size }).open)
    await fill?.opened
    const body = fill?.reader(neverAborted)
    const into = Buffer.alloc(long.length + 10)
    let read = 0
    await t.rejects(
      async () => {
        for (;;) read += (await body?.readInto(into, read)) || Number(await Promise.reject(new Error('it ended')))
      },
      { name: 'WrongBytesError' }
    )
    await body?.close()
    t.ok(read <= long.length - 4096, `${read}`)
    t.equal(await fill?.done, 'wrong')
    t.match(ended, [{ result: 'wrong' }])
    t.strictSame(await keysBelow(storage, 'docker'), [])
    t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
  })
}

test('fill: one that failed is not found any more when its readers fail', async t => {
  const { fills, start } = await place(t)
  const fill = start(long, sourceOf([`y${long.slice(1)}`]).open)
  await fill?.opened
  const body = fill?.reader(neverAborted)
  await body?.readInto(Buffer.alloc(1), long.length - 1).catch(() => {})
  t.equal(fills.find(digestOf(Buffer.from(long))), undefined)
  await body?.close()
})

test('fill: the error of a source that cannot be opened is that of the readers', async t => {
  const { ended, start } = await place(t)
  const fill = start(long, async () => {
    throw new Error('refused')
  })
  await t.rejects(async () => void (await fill?.opened), /refused/)
  t.equal(await fill?.done, 'broken')
  t.match(ended, [{ result: 'broken', bytes: 0 }])
})

test('fill: readers fail with the error of a source that breaks', async t => {
  const { storage, start } = await place(t)
  async function* breaking() {
    yield Buffer.from(long)
    throw new Error('cut')
  }
  const fill = start(long, async () => ({ chunks: breaking(), cancel: () => {}, size: 2 * long.length }))
  await fill?.opened
  const body = fill?.reader(neverAborted)
  await t.rejects(async () => void (await body?.readInto(Buffer.alloc(1), long.length + 1)), /cut/)
  await body?.close()
  t.equal(await fill?.done, 'broken')
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
})

test('fill: a blob that is larger than the free space is not written', async t => {
  const { ended, start } = await place(t)
  const { seen, open } = sourceOf([long], { size: Number.MAX_SAFE_INTEGER })
  const fill = start(long, open)
  await t.rejects(async () => void (await fill?.opened), { code: 'EDQUOT' })
  t.equal(await fill?.done, 'full')
  t.match(ended, [{ result: 'full', bytes: 0 }])
  t.equal(seen.cancelled, 1)
})

test('fill: an empty blob is stored', async t => {
  const { content, start } = await place(t)
  t.equal(await start('', sourceOf([], { size: 0 }).open)?.done, 'stored')
  t.equal(await blobText(content, app, digestOf(Buffer.alloc(0))), '')
})
