import { test } from 'tap'
import { createBodyWriter } from '../../../../src/content/uploads/body-writer.ts'
import type { Writer } from '../../../../storage/storage.ts'
import { bodyOf, brokenAfter, neverAborted } from '../../../support/content.ts'
import { openStorage, textOf } from '../../../support/storage.ts'

const mebibyte = 1024 * 1024

/** A writer that counts its writes; write number `fails` is refused. */
function counting(writer: Writer, fails = 0): { writer: Writer; writes: number[] } {
  const writes: number[] = []
  const counted: Writer = {
    ...writer,
    key: writer.key,
    offset: 0,
    async write(chunks) {
      writes.push(chunks.reduce((sum, each) => sum + each.length, 0))
      if (writes.length === fails) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
      await writer.write(chunks)
    }
  }
  return { writer: counted, writes }
}

test('body-writer: many small chunks become few writes, in order, and each is passed to onChunk once', async t => {
  const storage = await openStorage(t)
  const { writer, writes } = counting(await storage.create('a'))
  const text = Array.from({ length: 30_000 }, (_, at) => `${at} `.padEnd(100)).join('')
  const seen: Uint8Array[] = []
  await createBodyWriter()(bodyOf(text, 30_000), chunk => seen.push(chunk), writer, neverAborted)
  t.equal(await textOf(storage, 'a'), text)
  t.equal(Buffer.concat(seen).toString(), text)
  t.ok(writes.length <= 4, `${writes.length} writes`)
  t.ok(Math.max(...writes) <= mebibyte + 100, 'none is much larger than a mebibyte')
})

test('body-writer: the bytes that arrived of a truncated body are written', async t => {
  const storage = await openStorage(t)
  const { writer } = counting(await storage.create('a'))
  await t.rejects(
    createBodyWriter()(brokenAfter('arrived'), () => {}, writer, neverAborted),
    { name: 'BodyBrokenError', cause: { message: 'aborted' } }
  )
  t.equal(await textOf(storage, 'a'), 'arrived')
})

test('body-writer: an I/O error ends the body with that error', async t => {
  const storage = await openStorage(t)
  const { writer } = counting(await storage.create('a'), 2)
  let ended = false
  const endless = async function* () {
    try {
      for (;;) yield Buffer.alloc(mebibyte)
    } finally {
      ended = true
    }
  }
  await t.rejects(
    createBodyWriter()(endless(), () => {}, writer, neverAborted),
    { code: 'ENOSPC' }
  )
  t.ok(ended, 'the body was closed')
})

test('body-writer: an I/O error during a truncated body is the error', async t => {
  const storage = await openStorage(t)
  const { writer } = counting(await storage.create('a'), 1)
  await t.rejects(
    createBodyWriter()(brokenAfter('arrived'), () => {}, writer, neverAborted),
    { code: 'ENOSPC' }
  )
})

test('body-writer: onChunk may end the body with an error of its own', async t => {
  const storage = await openStorage(t)
  const { writer } = counting(await storage.create('a'))
  const stop = (): never => {
    throw new Error('enough')
  }
  await t.rejects(createBodyWriter()(bodyOf('text'), stop, writer, neverAborted), { message: 'enough' })
})
