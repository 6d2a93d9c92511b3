import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type Test, test } from 'tap'
import { BufferPool } from '../../../src/api/buffer-pool.ts'
import { sendBody, TruncatedError } from '../../../src/api/send.ts'
import { SharedReads } from '../../../src/api/shared-reads.ts'
import { StallDetector } from '../../../src/api/stall-detector.ts'
import { RateLimiter } from '../../../storage/rate-limiter.ts'
import { createTestClock } from '../../support/clock.ts'

const MIB = 1024 * 1024

/** A response whose socket behaves as the test says: no real socket fails on demand. */
class FakeResponse extends EventEmitter {
  destroyed = false
  ended = false
  readonly taken: Buffer[] = []
  readonly #write: (chunk: Buffer, done: (error?: Error) => void) => void

  constructor(write: (chunk: Buffer, done: (error?: Error) => void) => void) {
    super()
    this.#write = write
  }

  write(chunk: Buffer, done: (error?: Error) => void): boolean {
    this.taken.push(Buffer.from(chunk))
    this.#write(chunk, done)
    return true
  }

  end(): void {
    this.ended = true
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    process.nextTick(() => this.emit('close'))
  }
}

const takes = (_chunk: Buffer, done: (error?: Error) => void): void => void setImmediate(done)

/** A body of zeros that counts its closings. */
function bodyOf(readInto: (into: Buffer, position: number) => Promise<number>) {
  const body = { closed: 0, readInto, close: async () => void body.closed++ }
  return body
}

function setUp(t: Test, write: ConstructorParameters<typeof FakeResponse>[0]) {
  const stalls = new StallDetector({ bytes: 1, perMs: 3_600_000 })
  t.teardown(() => stalls.close())
  const response = new FakeResponse(write)
  const buffers = new BufferPool(4 * MIB)
  const send = (body: ReturnType<typeof bodyOf>, length: number) =>
    sendBody({ reads: new SharedReads(buffers), stalls }, response as unknown as ServerResponse, body, { offset: 0, length })
  return { stalls, response, buffers, send }
}

const zeros = async (into: Buffer): Promise<number> => into.fill(0).length

async function truncationOf(sending: Promise<number>): Promise<TruncatedError> {
  try {
    await sending
  } catch (error) {
    if (error instanceof TruncatedError) return error
    throw error
  }
  throw new Error('it was not truncated')
}

test('send: short reads of the source are concatenated', async t => {
  const { response, send } = setUp(t, takes)
  const body = bodyOf(async (into, position) => {
    into.writeUInt8(position % 251, 0)
    return 1
  })
  t.equal(await send(body, 300), 300)
  t.ok(Buffer.concat(response.taken).equals(Buffer.from(Array.from({ length: 300 }, (_each, at) => at % 251))))
  t.ok(response.ended)
  t.equal(body.closed, 1)
})

test('send: no more than the part is read, whatever the source has', async t => {
  const { response, send } = setUp(t, takes)
  await send(bodyOf(zeros), MIB + 7)
  t.equal(Buffer.concat(response.taken).length, MIB + 7)
})

test('send: an error of the source ends the connection, closes the body and is the cause', async t => {
  const { stalls, response, send } = setUp(t, takes)
  const fault = Object.assign(new Error('EIO'), { code: 'EIO' })
  const body = bodyOf(async (into, position) => {
    if (position > 200_000) throw fault
    return zeros(into)
  })
  const cut = await truncationOf(send(body, 10 * MIB))
  t.match(cut, { reason: 'source', cause: fault })
  t.ok(cut.sent < 10 * MIB)
  t.ok(response.destroyed)
  t.notOk(response.ended)
  t.equal(body.closed, 1)
  t.equal(stalls.transfers, 0)
})

test('send: a connection that closes while a write never calls back ends the transfer as the client’s', async t => {
  const { response, stalls, send } = setUp(t, () => setImmediate(() => response.destroy()))
  const body = bodyOf(zeros)
  t.match(await truncationOf(send(body, 10 * MIB)), { reason: 'client', sent: 0 })
  t.equal(body.closed, 1)
  t.equal(stalls.transfers, 0)
})

test('send: a reset is the client’s', async t => {
  const { send } = setUp(t, (_chunk, done) => setImmediate(() => done(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))))
  t.match(await truncationOf(send(bodyOf(zeros), MIB)), { reason: 'client', sent: 0 })
})

test('send: a connection that was closed before the first byte is the client’s', async t => {
  const { response, send } = setUp(t, takes)
  response.destroyed = true
  const body = bodyOf(zeros)
  t.match(await truncationOf(send(body, MIB)), { reason: 'client', sent: 0 })
  t.equal(body.closed, 1)
  t.strictSame(response.taken, [])
})

test('send: a transfer that stalls is closed and told apart from a client that left', async t => {
  let now = 0
  const stalls = new StallDetector({ bytes: 1, perMs: 1000 }, () => now)
  t.teardown(() => stalls.close())
  const response = new FakeResponse(() => {
    now += 4000
    setImmediate(() => stalls.check())
  })
  const body = bodyOf(zeros)
  const context = { reads: new SharedReads(new BufferPool(4 * MIB)), stalls }
  const sending = sendBody(context, response as unknown as ServerResponse, body, { offset: 0, length: MIB })
  t.match(await truncationOf(sending), { reason: 'stalled' })
  t.equal(body.closed, 1)
})

/** A transfer under a limit whose clock stands still: it may send its first chunk, and waits for ever before the next. */
function setUpLimited(t: Test, stalls: StallDetector) {
  t.teardown(() => stalls.close())
  const egress = new RateLimiter(MIB, { clock: createTestClock() })
  const response = new FakeResponse(takes)
  const body = bodyOf(zeros)
  const sending = sendBody(
    { reads: new SharedReads(new BufferPool(4 * MIB)), stalls, egress },
    response as unknown as ServerResponse,
    body,
    {
      offset: 0,
      length: 10 * MIB
    }
  )
  sending.catch(() => {})
  return { egress, response, body, sending }
}

async function untilWaiting(egress: RateLimiter): Promise<void> {
  while (egress.waiting === 0) await new Promise(resolve => setImmediate(resolve))
}

test('send: a client that leaves while its transfer is held back by our limit ends it', async t => {
  const { egress, response, body, sending } = setUpLimited(t, new StallDetector({ bytes: 1, perMs: 3_600_000 }))
  await untilWaiting(egress)
  response.destroy()
  t.match(await truncationOf(sending), { reason: 'client' })
  t.equal(egress.waiting, 0)
  t.equal(body.closed, 1)
})

test('send: a client that is held back by our limit is not closed as a slow one', async t => {
  let now = 0
  const stalls = new StallDetector({ bytes: 1000, perMs: 1000 }, () => now)
  const { egress, response, sending } = setUpLimited(t, stalls)
  await untilWaiting(egress)
  for (let period = 0; period < 10; period++) {
    now += 4000
    stalls.check()
  }
  t.notOk(response.destroyed)
  t.equal(stalls.transfers, 1)
  response.destroy()
  await truncationOf(sending)
})

test('send: a client whose source is slow is not closed as a slow one', async t => {
  let now = 0
  const stalls = new StallDetector({ bytes: 1000, perMs: 1000 }, () => now)
  t.teardown(() => stalls.close())
  let writes = 0
  const response = new FakeResponse((_chunk, done) => {
    writes++
    setImmediate(() => {
      writes--
      done()
    })
  })
  const body = bodyOf(async into => {
    // The clock of the client stops when its writes have ended.
    while (writes > 0) await new Promise(resolve => setImmediate(resolve))
    now += 100_000
    stalls.check()
    return zeros(into.subarray(0, 10))
  })
  const context = { reads: new SharedReads(new BufferPool(4 * MIB)), stalls }
  t.equal(await sendBody(context, response as unknown as ServerResponse, body, { offset: 0, length: 100 }), 100)
})

test('send: at most one write and one read are under way', async t => {
  let [under, most] = [0, 0]
  const count = (step: number) => {
    under += step
    most = Math.max(most, under)
  }
  const { send } = setUp(t, (_chunk, done) => {
    count(1)
    setImmediate(() => {
      count(-1)
      done()
    })
  })
  await send(bodyOf(zeros), 4 * MIB)
  t.equal(most, 1)
})

test('send: transfers that failed leave the pool as large as it was', async t => {
  const buffers = new BufferPool(MIB)
  for (let round = 0; round < 50; round++) {
    const { stalls } = setUp(t, takes)
    const response = new FakeResponse(() => setImmediate(() => response.destroy()))
    const sending = sendBody({ reads: new SharedReads(buffers), stalls }, response as unknown as ServerResponse, bodyOf(zeros), {
      offset: 0,
      length: 10 * MIB
    })
    t.equal((await truncationOf(sending)).reason, 'client')
  }
  buffers.enter()
  t.ok(buffers.take(256 * 1024).length >= 64 * 1024, 'a pooled buffer and not a private one')
})

test('send: a source that breaks while a write is under way leaves the pool as large as it was', async t => {
  const buffers = new BufferPool(MIB)
  for (let round = 0; round < 50; round++) {
    const { stalls } = setUp(t, takes)
    const response = new FakeResponse(() => {})
    const body = bodyOf(async (into, position) => {
      if (position > 0) throw new Error('broken')
      return zeros(into)
    })
    const sending = sendBody({ reads: new SharedReads(buffers), stalls }, response as unknown as ServerResponse, body, {
      offset: 0,
      length: 10 * MIB
    })
    t.equal((await truncationOf(sending)).reason, 'source')
  }
  await new Promise(resolve => setImmediate(resolve))
  buffers.enter()
  t.ok(buffers.take(256 * 1024).length >= 64 * 1024, 'a pooled buffer and not a private one')
})
