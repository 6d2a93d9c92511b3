import { test } from 'tap'
import { digestOf } from '../../../src/oci/digest.ts'
import { streamBody } from '../../../src/upstream/stream-body.ts'
import { readAll } from '../backend/scene.ts'

const endless = { offset: 0, length: Number.POSITIVE_INFINITY }

function chunksOf(...texts: string[]) {
  const seen = { given: 0, cancelled: 0, returned: 0 }
  async function* chunks() {
    try {
      for (const text of texts) {
        seen.given++
        yield Buffer.from(text)
      }
    } finally {
      seen.returned++
    }
  }
  return { seen, source: { chunks: chunks(), cancel: () => void seen.cancelled++ } }
}

const bodyOf = (body: ReturnType<typeof streamBody>) => readAll({ size: undefined, part: endless, body })

test('streamBody: what has the digest comes whole', async t => {
  const { source } = chunksOf('one', '', 'two', 'three')
  t.equal((await bodyOf(streamBody(source, digestOf(Buffer.from('onetwothree'))))).toString(), 'onetwothree')
})

test('streamBody: of what has another digest the last chunk is not given', async t => {
  const body = streamBody(chunksOf('one', 'two', 'three').source, digestOf(Buffer.from('onetwoThree')))
  const into = Buffer.alloc(100)
  let text = ''
  await t.rejects(async () => {
    for (;;) text += into.subarray(0, await body.readInto(into, text.length)).toString()
  }, /upstream sent bytes of sha256:/)
  t.equal(text, 'onetwo'.slice(0, text.length))
  t.notMatch(text, /three/)
})

test('streamBody: a single wrong chunk is not given at all', async t => {
  await t.rejects(bodyOf(streamBody(chunksOf('one').source, digestOf(Buffer.from('two')))), /upstream sent/)
})

test('streamBody: an empty body has the digest of nothing', async t => {
  t.equal((await bodyOf(streamBody(chunksOf().source, digestOf(Buffer.alloc(0))))).length, 0)
  await t.rejects(bodyOf(streamBody(chunksOf().source, digestOf(Buffer.from('x')))), /upstream sent/)
})

test('streamBody: without a digest bytes pass as they are', async t => {
  t.equal((await bodyOf(streamBody(chunksOf('a', 'bc').source))).toString(), 'abc')
})

test('streamBody: chunks longer than the reader takes are given in parts', async t => {
  const body = streamBody(chunksOf('abcdef').source)
  const into = Buffer.alloc(4)
  t.strictSame([await body.readInto(into, 0), await body.readInto(into, 4), await body.readInto(into, 6)], [4, 2, 0])
})

test('streamBody: no more is taken than one chunk ahead of a reader', async t => {
  const { seen, source } = chunksOf('a', 'b', 'c', 'd', 'e')
  const body = streamBody(source, digestOf(Buffer.from('abcde')))
  await body.readInto(Buffer.alloc(1), 0)
  t.equal(seen.given, 2)
})

test('streamBody: a source that breaks breaks the body', async t => {
  async function* broken() {
    yield Buffer.from('a')
    throw new Error('cut')
  }
  await t.rejects(bodyOf(streamBody({ chunks: broken(), cancel: () => {} }, digestOf(Buffer.from('a')))), /cut/)
})

test('streamBody: closed in the middle, the source is cancelled and can end', async t => {
  const { seen, source } = chunksOf('a', 'b', 'c')
  const body = streamBody(source)
  await body.readInto(Buffer.alloc(1), 0)
  await body.close()
  await new Promise(resolve => setImmediate(resolve))
  t.strictSame([seen.cancelled, seen.returned], [1, 1])
})
