import { once } from 'node:events'
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Test, test } from 'tap'
import { BufferPool } from '../../../src/api/buffer-pool.ts'
import { sendBody } from '../../../src/api/send.ts'
import { SharedReads } from '../../../src/api/shared-reads.ts'
import { StallDetector } from '../../../src/api/stall-detector.ts'
import { fallbackBody } from '../../../src/backend/fallback-body.ts'

const hangs = (state: { underway: boolean }) => Object.assign(new Error('the disk does not answer'), { code: 'ESTALLED', ...state })

/** Sends a body whose first read fails; gives the buffer that it was given and the one that comes next. */
async function failing(t: Test, error: Error): Promise<{ given: ArrayBufferLike; next: ArrayBufferLike }> {
  const buffers = new BufferPool(1024 * 1024)
  const stalls = new StallDetector({ bytes: 1, perMs: 30_000 })
  const sent = Promise.withResolvers<ArrayBufferLike>()
  // Another transfer goes on, so that the pool keeps what comes back.
  buffers.enter()
  const server = createServer((_request, response) => {
    let given: ArrayBufferLike | undefined
    const readInto = async (into: Buffer) => {
      given = into.buffer
      throw error
    }
    const body = { readInto, close: async () => {} }
    sendBody({ reads: new SharedReads(buffers), stalls }, response, body, { offset: 0, length: 100 }).catch(() =>
      sent.resolve(given ?? new ArrayBuffer())
    )
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.close()
    stalls.close()
  })
  await once(server, 'listening')
  get({ port: (server.address() as AddressInfo).port, agent: false }).on('error', () => {})
  return { given: await sent.promise, next: buffers.take(64 * 1024).buffer }
}

test('sending: memory that a hanging disk may still write to is never used again', async t => {
  const { given, next } = await failing(t, hangs({ underway: true }))
  t.not(next, given)
})

test('sending: after any other fault of the disk the memory is used again', async t => {
  const { given, next } = await failing(t, Object.assign(new Error('EIO'), { code: 'EIO' }))
  t.equal(next, given)
})

test('fallback: what a disk refused is read from upstream, but not into memory that the disk may hold', async t => {
  const upstream = async () => ({ readInto: async (into: Buffer) => into.write('rest'), close: async () => {} })
  const body = (error: Error) => fallbackBody({ readInto: () => Promise.reject(error), close: async () => {} }, upstream)
  t.equal(await body(hangs({ underway: false })).readInto(Buffer.alloc(4), 0), 4)
  await t.rejects(body(hangs({ underway: true })).readInto(Buffer.alloc(4), 0), { code: 'ESTALLED' })
})
