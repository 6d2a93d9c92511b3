import { test } from 'tap'
import { BufferPool } from '../../../src/api/buffer-pool.ts'
import { type BodyReader, SharedReads } from '../../../src/api/shared-reads.ts'
import type { Body } from '../../../src/oci/source.ts'

const KIB = 1024
const MIB = 1024 * KIB
const options = { bufferBytes: 64 * KIB, maxBytes: Number.POSITIVE_INFINITY, maxSharedBufferBytes: MIB }

/** A body whose bytes follow from their position, and that records where it was read. */
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

/** A pool, and the bytes that could be taken from it at once. */
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

test('reads: readers of the same bytes at once share one read and one chunk', async t => {
  const { reads } = poolOf()
  const bodies = [bodyOf('same'), bodyOf('same'), bodyOf('same')]
  const readers = bodies.map(body => reads.open(body))
  const leases = await Promise.all(readers.map(reader => reader.read(0, options)))
  t.equal(new Set(leases.map(({ bytes }) => bytes.buffer)).size, 1)
  t.equal(bodies.flatMap(({ positions }) => positions).length, 1)
  t.ok(leases.every(({ bytes }) => bytes.length === 64 * KIB && isRight(bytes, 0)))
})

test('reads: a reader a little behind finds the chunks that were read before, at any position', async t => {
  const { reads } = poolOf()
  const [first, second] = [bodyOf('same'), bodyOf('same')]
  const [ahead, behind] = [reads.open(first), reads.open(second)]
  for (let position = 0; position < MIB; position += 64 * KIB) (await ahead.read(position, options)).release()
  const lease = await behind.read(100 * KIB, options)
  t.equal(lease.bytes.length, 28 * KIB, 'the rest of a chunk')
  t.ok(isRight(lease.bytes, 100 * KIB))
  t.strictSame(second.positions, [])
})

test('reads: a lease of a chunk that others read has at most maxBytes', async t => {
  const { reads } = poolOf()
  const [ahead, behind] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  ;(await ahead.read(0, options)).release()
  const { bytes } = await behind.read(10, { ...options, maxBytes: 7 })
  t.strictSame([bytes.length, isRight(bytes, 10)], [7, true])
})

test('reads: bodies of which nothing is known, or that are others, are read each by itself', async t => {
  const { reads } = poolOf()
  const bodies = [bodyOf(undefined), bodyOf(undefined), bodyOf('one'), bodyOf('other')]
  await Promise.all(bodies.map(body => reads.open(body).read(0, options)))
  t.ok(bodies.every(({ positions }) => positions.length === 1))
})

test('reads: bytes do not change while they are leased, however far the others are', async t => {
  const { reads } = poolOf(MIB)
  const [slow, fast] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  const [kept, other] = await Promise.all([slow.read(0, options), fast.read(0, options)])
  other.release()
  for (let position = 64 * KIB; position < 16 * MIB; position += 64 * KIB) (await fast.read(position, options)).release()
  t.ok(isRight(kept.bytes, 0))
  kept.release()
  t.ok(isRight((await slow.read(64 * KIB, options)).bytes, 64 * KIB), 'and the slow one reads on by itself')
})

test('reads: everything is back in the pool when all have left, in whatever order', async t => {
  const { reads, available } = poolOf()
  const before = available()
  const [one, two] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  const [first, second] = await Promise.all([one.read(0, options), two.read(0, options)])
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
  for (let position = 0; position < MIB; position += 64 * KIB) (await one.read(position, options)).release()
  const lease = await reads.open(bodyOf('other')).read(0, options)
  t.equal(lease.bufferBytes, 64 * KIB)
})

test('reads: a poisoned chunk is never used again, even if others released it', async t => {
  const { reads, buffers, available } = poolOf()
  const [one, two] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  const [first, second] = await Promise.all([one.read(0, options), two.read(0, options)])
  const { buffer } = first.bytes
  first.poison()
  second.release()
  one.end()
  two.end()
  const taken = Array.from({ length: available() / (64 * KIB) }, () => buffers.take(64 * KIB).buffer)
  t.notOk(taken.includes(buffer))
})

test('reads: when a read that others wait for fails, they read for themselves', async t => {
  const { reads } = poolOf()
  const fault = async () => {
    await new Promise(resolve => setImmediate(resolve))
    throw new Error('this reader has left')
  }
  const bodies = [bodyOf('same', { before: fault }), bodyOf('same'), bodyOf('same')]
  const results = await Promise.allSettled(bodies.map(body => reads.open(body).read(0, options)))
  t.strictSame(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled']
  )
  t.equal(bodies.flatMap(({ positions }) => positions).length, 2, 'one after the other, and not each')
})

test('reads: memory that a hanging disk may still write to is never used again', async t => {
  const { reads, buffers, available } = poolOf()
  const hangs = async () => {
    throw Object.assign(new Error('the disk does not answer'), { code: 'ESTALLED' })
  }
  const [one, two] = [bodyOf('same', { before: hangs }), bodyOf('same')]
  const readers = [reads.open(one), reads.open(two)]
  const [failed, lease] = await Promise.allSettled(readers.map(reader => reader.read(0, options)))
  t.equal(failed?.status, 'rejected')
  if (lease?.status === 'fulfilled') lease.value.release()
  for (const reader of readers) reader.end()
  const taken = Array.from({ length: available() / (64 * KIB) }, () => buffers.take(64 * KIB).buffer)
  t.ok(one.given[0] && !taken.includes(one.given[0]))
})

test('reads: a body that changes its source shares no bytes of the new one', async t => {
  const { reads } = poolOf()
  const one = bodyOf('same', {
    before: async () => {
      await new Promise(resolve => setImmediate(resolve))
      one.identity = undefined
    }
  })
  const two = bodyOf('same')
  const readers = [reads.open(one), reads.open(two)]
  const [own, other] = await Promise.all(readers.map(reader => reader.read(0, options)))
  t.not(own?.bytes.buffer, other?.bytes.buffer)
  await Promise.all(readers.map(reader => reader.read(64 * KIB, options)))
  t.strictSame([one.positions.length, two.positions.length], [2, 2])
})

test('reads: a chunk that ends before a position says nothing about that position', async t => {
  const { reads } = poolOf()
  const [short, whole] = [bodyOf('same'), bodyOf('same')]
  const [one, two] = [reads.open(short), reads.open(whole)]
  const [first, second] = await Promise.all([one.read(0, { ...options, maxBytes: 10 }), two.read(20, options)])
  t.strictSame([first.bytes.length, second.bytes.length, isRight(second.bytes, 20)], [10, 64 * KIB, true])
})

test('reads: the end of a body is the end for all', async t => {
  const { reads } = poolOf()
  const readers = [reads.open(bodyOf('same', { size: 100 })), reads.open(bodyOf('same', { size: 100 }))]
  const leases = await Promise.all(readers.map(reader => reader.read(100, options)))
  t.strictSame(
    leases.map(({ bytes }) => bytes.length),
    [0, 0]
  )
})

test('reads: a slow reader gets no lease of a large chunk', async t => {
  const { reads } = poolOf(16 * MIB)
  const [one, two] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  t.equal((await one.read(0, { ...options, bufferBytes: MIB })).bufferBytes, MIB)
  t.equal((await two.read(0, { ...options, maxSharedBufferBytes: 64 * KIB })).bufferBytes, 64 * KIB)
})

test('reads: a reader whose body fails does not affect the others of its group', async t => {
  const { reads } = poolOf()
  const waiting = Promise.withResolvers<void>()
  const [leaving, staying] = [{ ...bodyOf('same'), ready: () => waiting.promise }, bodyOf('same')]
  const [one, two] = [reads.open(leaving), reads.open(staying)]
  const left = one.read(0, options)
  t.ok(isRight((await two.read(0, options)).bytes, 0))
  waiting.reject(new Error('the client is gone'))
  await t.rejects(left, /the client is gone/)
})

/** Reads on from `position` to `end`; gives where each read began. */
async function readOn(reader: BodyReader, position: number, end: number): Promise<number[]> {
  const begun: number[] = []
  for (let at = position; at < end; ) {
    const lease = await reader.read(at, options)
    begun.push(at)
    at += lease.bytes.length
    lease.release()
    await new Promise(resolve => setImmediate(resolve))
  }
  return begun
}

test('reads: a reader far ahead does not yield, whether those behind move or stand still', async t => {
  const { reads } = poolOf()
  const [ahead, behind] = [reads.open(bodyOf('same')), reads.open(bodyOf('same'))]
  ;(await behind.read(0, options)).release()
  t.equal((await readOn(ahead, 8 * MIB, 9 * MIB)).length, 16, 'beside one that stands still')
  const [one, two] = await Promise.all([readOn(ahead, 9 * MIB, 10 * MIB), readOn(behind, 0, MIB)])
  t.strictSame([one.length, two.length], [16, 16], 'beside one that moves')
})

test('reads: a reader yields to one that is about to catch up, and then they share', async t => {
  const reads = new SharedReads(new BufferPool(16 * MIB), () => 0)
  const [first, second] = [bodyOf('same'), bodyOf('same')]
  const [ahead, behind] = [reads.open(first), reads.open(second)]
  ;(await ahead.read(6 * MIB, options)).release()
  await Promise.all([readOn(ahead, 6 * MIB + 64 * KIB, 32 * MIB), readOn(behind, 0, 32 * MIB)])
  const all = (32 * MIB) / (64 * KIB)
  t.ok(second.positions.length < all / 2, `it reads ${second.positions.length} of ${all} pieces itself`)
})

test('reads: a chunk of a group that all others have left is released with the rest', async t => {
  const { reads, available } = poolOf()
  const all = available()
  const gate = Promise.withResolvers<void>()
  const [leaving, staying] = [reads.open(bodyOf('same', { before: () => gate.promise })), reads.open(bodyOf('same'))]
  const short = leaving.read(0, { ...options, maxBytes: 10 })
  // It waits for a read that turns out to be too short for it.
  const beyond = staying.read(100, options)
  leaving.end()
  gate.resolve()
  for (const lease of await Promise.all([short, beyond])) lease.release()
  staying.end()
  t.equal(available(), all)
})
