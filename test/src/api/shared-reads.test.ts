import { test } from 'tap'
import { BufferPool } from '../../../src/api/buffer-pool.ts'
import { type BodyReader, SharedReads } from '../../../src/api/shared-reads.ts'
import type { Body } from '../../../src/oci/source.ts'

const KIB = 1024
const MIB = 1024 * KIB
const amount = { bufferBytes: 64 * KIB, maxBytes: Number.POSITIVE_INFINITY, maxSharedBufferBytes: MIB }

/** A body whose bytes tell where they are, and that remembers where it was read. */
function bodyOf(
  identity: Body['identity'],
  { size = 64 * MIB, before = async () => {} }: { size?: number; before?: () => Promise<void> } = {}
) {
  const body = {
    identity,
    positions: [] as number[],
    given: [] as ArrayBufferLike[],
    async readInto(into: Buffer, position: number) {
      body.positions.push(position)
      body.given.push(into.buffer)
      await before()
      const length = Math.min(into.length, Math.max(0, size - position))
      for (let at = 0; at < length; at++) into[at] = byteAt(position + at)
      return length
    },
    async close() {}
  }
  return body
}

function byteAt(position: number): number {
  return Math.floor(position / 1000) % 251
}

function isRight(bytes: Buffer, position: number): boolean {
  return bytes.every((byte, at) => byte === byteAt(position + at))
}

/** A pool, and what of it could be had at once. */
function poolOf(bytes = 4 * MIB) {
  const buffers = new BufferPool(bytes)
  buffers.enter()
  const available = () => {
    const taken: Buffer[] = []
    for (let buffer = buffers.take(64 * KIB); buffers.isPooled(buffer); buffer = buffers.take(64 * KIB)) taken.push(buffer)
    for (const buffer of taken) buffers.release(buffer)
    return taken.length * 64 * KIB
  }
  return { reads: new SharedReads(buffers), buffers, available }
}

test('reads: those who read the same at once share one read and one buffer', async t => {
  const { reads } = poolOf()
  const bodies = [bodyOf('same'), bodyOf('same'), bodyOf('same')]
  const readers = bodies.map(body => reads.open(body))
  const loans = await Promise.all(readers.map(reader => reader.read(0, amount)))
  t.equal(new Set(loans.map(({ bytes }) => bytes.buffer)).size, 1)
  t.equal(bodies.flatMap(({ positions }) => positions).length, 1)
  t.ok(loans.every(({ bytes }) => bytes.length === 64 * KIB && isRight(bytes, 0)))
})

test('reads: who comes a little later finds what was read before, from any position on', async t => {
  const { reads } = poolOf()
  const [first, second] = [bodyOf('same'), bodyOf('same')]
  const [ahead, behind] = [reads.open(first), reads.open(second)]
  for (let position = 0; position < MIB; position += 64 * KIB) (await ahead.read(position, amount)).release()
  const loan = await behind.read(100 * KIB, amount)
  t.equal(loan.bytes.length, 28 * KIB, 'the rest of a block')
  t.ok(isRight(loan.bytes, 100 * KIB))
  t.strictSame(second.positions, [])
})

test('reads: no more than was asked for is given of what others read', async t => {
  const { reads } = poolOf()
  const [ahead, behind] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  ;(await ahead.read(0, amount)).release()
  const { bytes } = await behind.read(10, { ...amount, maxBytes: 7 })
  t.strictSame([bytes.length, isRight(bytes, 10)], [7, true])
})

test('reads: bodies of which nothing is known, or that are others, are read each by itself', async t => {
  const { reads } = poolOf()
  const bodies = [bodyOf(undefined), bodyOf(undefined), bodyOf('one'), bodyOf('other')]
  await Promise.all(bodies.map(body => reads.open(body).read(0, amount)))
  t.ok(bodies.every(({ positions }) => positions.length === 1))
})

test('reads: bytes do not change while somebody has them, however far the others are', async t => {
  const { reads } = poolOf(MIB)
  const [slow, fast] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  const [kept, other] = await Promise.all([slow.read(0, amount), fast.read(0, amount)])
  other.release()
  for (let position = 64 * KIB; position < 16 * MIB; position += 64 * KIB) (await fast.read(position, amount)).release()
  t.ok(isRight(kept.bytes, 0))
  kept.release()
  t.ok(isRight((await slow.read(64 * KIB, amount)).bytes, 64 * KIB), 'and the slow one reads on by itself')
})

test('reads: everything is back in the pool when all have left, in whatever order', async t => {
  const { reads, available } = poolOf()
  const before = available()
  const [one, two] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  const [first, second] = await Promise.all([one.read(0, amount), two.read(0, amount)])
  one.end()
  t.ok(available() < before, 'the other one has it still')
  first.release()
  second.release()
  two.end()
  t.equal(available(), before)
})

test('reads: what is kept for those behind does not keep others from the pool', async t => {
  const { reads } = poolOf(256 * KIB)
  const [one] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  for (let position = 0; position < MIB; position += 64 * KIB) (await one.read(position, amount)).release()
  const loan = await reads.open(bodyOf('other')).read(0, amount)
  t.equal(loan.bufferBytes, 64 * KIB)
})

test('reads: a buffer that a failed write may still look at is never used again, even if others gave it back', async t => {
  const { reads, buffers, available } = poolOf()
  const [one, two] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  const [first, second] = await Promise.all([one.read(0, amount), two.read(0, amount)])
  const { buffer } = first.bytes
  first.poison()
  second.release()
  one.end()
  two.end()
  const taken = Array.from({ length: available() / (64 * KIB) }, () => buffers.take(64 * KIB).buffer)
  t.notOk(taken.includes(buffer))
})

test('reads: when the read that others wait for fails, they read for themselves', async t => {
  const { reads } = poolOf()
  const fault = async () => {
    await new Promise(resolve => setImmediate(resolve))
    throw new Error('this reader has left')
  }
  const bodies = [bodyOf('same', { before: fault }), bodyOf('same'), bodyOf('same')]
  const results = await Promise.allSettled(bodies.map(body => reads.open(body).read(0, amount)))
  t.strictSame(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled']
  )
  t.equal(bodies.flatMap(({ positions }) => positions).length, 2, 'one after the other, and not each')
})

test('reads: memory that a hanging disk may still write to is never used again, by nobody', async t => {
  const { reads, buffers, available } = poolOf()
  const hangs = async () => {
    throw Object.assign(new Error('the disk does not answer'), { code: 'ESTALLED' })
  }
  const [one, two] = [bodyOf('same', { before: hangs }), bodyOf('same')]
  const readers = [reads.open(one), reads.open(two)]
  const [failed, loan] = await Promise.allSettled(readers.map(reader => reader.read(0, amount)))
  t.equal(failed?.status, 'rejected')
  if (loan?.status === 'fulfilled') loan.value.release()
  for (const reader of readers) reader.end()
  const taken = Array.from({ length: available() / (64 * KIB) }, () => buffers.take(64 * KIB).buffer)
  t.ok(one.given[0] && !taken.includes(one.given[0]))
})

test('reads: a body that goes on with bytes from elsewhere shares none of them', async t => {
  const { reads } = poolOf()
  const one = bodyOf('same', {
    before: async () => {
      await new Promise(resolve => setImmediate(resolve))
      one.identity = undefined
    }
  })
  const two = bodyOf('same')
  const readers = [reads.open(one), reads.open(two)]
  const [own, other] = await Promise.all(readers.map(reader => reader.read(0, amount)))
  t.not(own?.bytes.buffer, other?.bytes.buffer)
  await Promise.all(readers.map(reader => reader.read(64 * KIB, amount)))
  t.strictSame([one.positions.length, two.positions.length], [2, 2])
})

test('reads: what ends before the position that another wants says nothing about it', async t => {
  const { reads } = poolOf()
  const [short, whole] = [bodyOf('same'), bodyOf('same')]
  const [one, two] = [reads.open(short), reads.open(whole)]
  const [first, second] = await Promise.all([one.read(0, { ...amount, maxBytes: 10 }), two.read(20, amount)])
  t.strictSame([first.bytes.length, second.bytes.length, isRight(second.bytes, 20)], [10, 64 * KIB, true])
})

test('reads: the end of a body is the end for all', async t => {
  const { reads } = poolOf()
  const readers = [reads.open(bodyOf('same', { size: 100 })), reads.open(bodyOf('same', { size: 100 }))]
  const loans = await Promise.all(readers.map(reader => reader.read(100, amount)))
  t.strictSame(
    loans.map(({ bytes }) => bytes.length),
    [0, 0]
  )
})

test('reads: who takes little at a time gets no part of a large buffer', async t => {
  const { reads } = poolOf(16 * MIB)
  const [one, two] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  t.equal((await one.read(0, { ...amount, bufferBytes: MIB })).bufferBytes, MIB)
  t.equal((await two.read(0, { ...amount, maxSharedBufferBytes: 64 * KIB })).bufferBytes, 64 * KIB)
})

test('reads: a reader that cannot go on ends by itself, whoever reads the same', async t => {
  const { reads } = poolOf()
  const waiting = Promise.withResolvers<void>()
  const [leaving, staying] = [{ ...bodyOf('same'), ready: () => waiting.promise }, bodyOf('same')]
  const [one, two] = [reads.open(leaving), reads.open(staying)]
  const left = one.read(0, amount)
  t.ok(isRight((await two.read(0, amount)).bytes, 0))
  waiting.reject(new Error('the client is gone'))
  await t.rejects(left, /the client is gone/)
})

/** Reads on from `position` to `end`; gives where each read began. */
async function readOn(reader: BodyReader, position: number, end: number): Promise<number[]> {
  const begun: number[] = []
  for (let at = position; at < end; ) {
    const loan = await reader.read(at, amount)
    begun.push(at)
    at += loan.bytes.length
    loan.release()
    await new Promise(resolve => setImmediate(resolve))
  }
  return begun
}

test('reads: who is far ahead goes on, whether those behind move or rest', async t => {
  const { reads } = poolOf()
  const [ahead, behind] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  ;(await behind.read(0, amount)).release()
  t.equal((await readOn(ahead, 8 * MIB, 9 * MIB)).length, 16, 'beside one that rests')
  const [one, two] = await Promise.all([readOn(ahead, 9 * MIB, 10 * MIB), readOn(behind, 0, MIB)])
  t.strictSame([one.length, two.length], [16, 16], 'beside one that moves')
})

test('reads: who is ahead lets one that is about to catch up go first, and then they share', async t => {
  const reads = new SharedReads(new BufferPool(16 * MIB), () => 0)
  const [first, second] = [bodyOf('same'), bodyOf('same')]
  const [ahead, behind] = [reads.open(first), reads.open(second)]
  ;(await ahead.read(6 * MIB, amount)).release()
  await Promise.all([readOn(ahead, 6 * MIB + 64 * KIB, 32 * MIB), readOn(behind, 0, 32 * MIB)])
  const all = (32 * MIB) / (64 * KIB)
  t.ok(second.positions.length < all / 2, `it reads ${second.positions.length} of ${all} pieces itself`)
})

test('reads: what the last one reads for a crowd that has left is given back with the rest', async t => {
  const { reads, available } = poolOf()
  const all = available()
  const gate = Promise.withResolvers<void>()
  const [leaving, staying] = [reads.open(bodyOf('same', { before: () => gate.promise })), reads.open(bodyOf('same'))]
  const short = leaving.read(0, { ...amount, maxBytes: 10 })
  // It waits for a read that turns out to be too short for it.
  const beyond = staying.read(100, amount)
  leaving.end()
  gate.resolve()
  for (const loan of await Promise.all([short, beyond])) loan.release()
  staying.end()
  t.equal(available(), all)
})
