import { test } from 'tap'
import type { Dispatcher } from 'undici'
import { ResponseBody } from '../../../src/upstream/connection/response-body.ts'

/** A connection that only notes what is asked of it. */
function connection() {
  const seen: string[] = []
  let paused = false
  const controller = {
    get paused() {
      return paused
    },
    pause: () => {
      paused = true
      seen.push('pause')
    },
    resume: () => {
      paused = false
      seen.push('resume')
    },
    abort: (reason: Error) => void seen.push(`abort: ${reason.message}`)
  } as unknown as Dispatcher.DispatchController
  return { seen, controller }
}

function incoming() {
  const stop = new AbortController()
  const body = new ResponseBody(stop.signal)
  const { seen, controller } = connection()
  body.started(controller)
  return { stop, body, seen, pieces: body[Symbol.asyncIterator]() }
}

test('incoming: what arrives in one turn of the event loop is one piece, and an empty chunk is none', async t => {
  const { body, pieces } = incoming()
  const first = pieces.next()
  for (const text of ['', 'a', 'b', '', 'c']) body.push(Buffer.from(text))
  t.equal((await first).value?.toString(), 'abc')
  const second = pieces.next()
  body.push(Buffer.from('d'))
  t.equal((await second).value?.toString(), 'd')
  body.end()
  t.equal((await pieces.next()).done, true)
})

test('incoming: an empty chunk does not keep the reader from the next one', async t => {
  const { body, pieces } = incoming()
  body.push(Buffer.alloc(0))
  const next = pieces.next()
  await new Promise(resolve => setImmediate(resolve))
  body.push(Buffer.from('a'))
  t.equal((await next).value?.toString(), 'a')
})

test('incoming: the connection rests while much waits for a reader, and goes on when it was taken', async t => {
  const { body, seen, pieces } = incoming()
  body.push(Buffer.alloc(200_000))
  t.strictSame(seen, [])
  body.push(Buffer.alloc(100_000))
  t.strictSame(seen, ['pause'])
  t.equal((await pieces.next()).value?.length, 200_000)
  t.strictSame(seen, ['pause', 'resume'])
  t.equal((await pieces.next()).value?.length, 100_000)
})

test('incoming: the connection rests on while much still waits', async t => {
  const { body, seen, pieces } = incoming()
  body.push(Buffer.alloc(100_000))
  body.push(Buffer.alloc(200_000))
  await pieces.next()
  t.strictSame(seen, ['pause'])
})

test('incoming: a large chunk is given as it is, small ones are put together, in their order', async t => {
  const { body, pieces } = incoming()
  const large = Buffer.alloc(64 * 1024)
  for (const chunk of [large, Buffer.from('a'), Buffer.from('b'), large]) body.push(chunk)
  t.equal((await pieces.next()).value, large)
  const rest = (await pieces.next()).value
  t.strictSame([rest?.length, rest?.toString('latin1', 0, 2)], [2 + large.length, 'ab'])
})

test('incoming: a fault comes after the bytes that came before it', async t => {
  const { body, pieces } = incoming()
  body.push(Buffer.from('a'))
  body.fail(new Error('reset'))
  t.equal((await pieces.next()).value?.toString(), 'a')
  await t.rejects(pieces.next(), { message: 'reset' })
})

test('incoming: the signal ends the connection and the wait of the reader', async t => {
  const { stop, seen, pieces } = incoming()
  const next = pieces.next()
  stop.abort(new Error('the client is gone'))
  await t.rejects(next, { message: 'the client is gone' })
  t.strictSame(seen, ['abort: the client is gone'])
})

test('incoming: a reader that leaves closes the connection, one that read to the end does not', async t => {
  const left = incoming()
  left.body.push(Buffer.from('a'))
  for await (const piece of left.body) {
    t.equal(piece.toString(), 'a')
    break
  }
  t.match(left.seen, ['abort: the body was abandoned'])
  const read = incoming()
  read.body.push(Buffer.from('a'))
  read.body.end()
  t.equal((await Array.fromAsync(read.body)).length, 1)
  t.strictSame(read.seen, [])
})
