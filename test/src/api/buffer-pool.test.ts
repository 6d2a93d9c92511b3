import { test } from 'tap'
import { BufferPool } from '../../../src/api/buffer-pool.ts'

const kib = 1024

test('buffers: as large as wanted while there is one transfer', t => {
  const buffers = new BufferPool(8192 * kib)
  buffers.enter()
  t.strictSame(
    [64, 256, 1024].map(wanted => buffers.take(wanted * kib).length),
    [64 * kib, 256 * kib, 1024 * kib]
  )
  t.end()
})

test('buffers: a released buffer is the next one taken', t => {
  const buffers = new BufferPool(4096 * kib)
  buffers.enter()
  const buffer = buffers.take(256 * kib)
  buffers.release(buffer)
  t.equal(buffers.take(256 * kib), buffer)
  t.end()
})

test('buffers: many transfers get smaller ones', t => {
  const buffers = new BufferPool(4096 * kib)
  for (let transfer = 0; transfer < 16; transfer++) buffers.enter()
  t.equal(buffers.take(1024 * kib).length, 128 * kib)
  t.end()
})

test('buffers: when the pool is empty, small private buffers are used', t => {
  const buffers = new BufferPool(128 * kib)
  buffers.enter()
  t.strictSame(
    [buffers.take(64 * kib).length, buffers.take(64 * kib).length, buffers.take(64 * kib).length],
    [64 * kib, 64 * kib, 16 * kib]
  )
  t.end()
})

test('buffers: a private buffer does not enter the pool', t => {
  const buffers = new BufferPool(64 * kib)
  buffers.enter()
  buffers.take(64 * kib)
  const small = buffers.take(64 * kib)
  buffers.release(small)
  t.not(buffers.take(64 * kib), small)
  t.end()
})

test('buffers: a discarded buffer can be allocated anew', t => {
  const buffers = new BufferPool(128 * kib)
  buffers.enter()
  const [one] = [buffers.take(64 * kib), buffers.take(64 * kib)]
  buffers.discard(one)
  const next = buffers.take(64 * kib)
  t.equal(next.length, 64 * kib)
  t.not(next, one)
  t.end()
})

test('buffers: when the last transfer has ended, the memory is freed', t => {
  const buffers = new BufferPool(4096 * kib)
  buffers.enter()
  const buffer = buffers.take(64 * kib)
  buffers.release(buffer)
  buffers.leave()
  buffers.enter()
  t.not(buffers.take(64 * kib), buffer)
  t.end()
})

test('buffers: parked transfers have no share, and what they hold can be allocated again', t => {
  const buffers = new BufferPool(1024 * kib)
  for (let transfer = 0; transfer < 8; transfer++) buffers.enter()
  const held = Array.from({ length: 7 }, () => [buffers.take(64 * kib), buffers.take(64 * kib)]).flat()
  t.strictSame(new Set(held.map(each => each.length)), new Set([64 * kib]))
  const parked = Array.from({ length: 7 }, () => buffers.park(128 * kib))
  t.strictSame(new Set(parked), new Set([128 * kib]))
  t.equal(buffers.take(1024 * kib).length, 512 * kib)
  t.end()
})

test('buffers: parked bytes are at most as many as pooled ones', t => {
  const buffers = new BufferPool(128 * kib)
  buffers.enter()
  buffers.enter()
  t.equal(buffers.park(128 * kib), 128 * kib)
  t.equal(buffers.park(64 * kib), 0)
  t.end()
})

test('buffers: a transfer that is unparked counts again', t => {
  const buffers = new BufferPool(256 * kib)
  for (let transfer = 0; transfer < 2; transfer++) buffers.enter()
  const own = buffers.take(64 * kib)
  const parked = buffers.park(own.length)
  t.equal(buffers.take(128 * kib).length, 128 * kib)
  buffers.unpark(parked)
  t.equal(buffers.take(128 * kib).length, 64 * kib)
  t.equal(buffers.take(128 * kib).length, 16 * kib)
  t.end()
})
