import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { fetchKeys } from '../../../../src/access/tokens/fetch-keys.ts'
import { RemoteKeys } from '../../../../src/access/tokens/remote-keys.ts'
import { certificate } from '../../../support/certificate.ts'
import { tokenKey } from '../../../support/tokens.ts'
import { folder, until } from '../../support.ts'

const hour = 3_600_000
const setOf = (...keys: { jwk: unknown }[]) => Buffer.from(JSON.stringify({ keys: keys.map(each => each.jwk) }))

function setUp(t: Test) {
  const seen = { now: 0, fetches: 0, changes: [] as number[], faults: [] as string[] }
  const answers: (Buffer | Error)[] = []
  const keys = new RemoteKeys({
    fetch: async () => {
      seen.fetches++
      const answer = answers.length > 1 ? answers.shift() : answers[0]
      if (answer instanceof Buffer) return answer
      throw answer
    },
    refreshMs: 10 * hour,
    now: () => seen.now,
    onChange: count => seen.changes.push(count),
    onFault: fault => seen.faults.push(String(fault))
  })
  t.teardown(() => keys.stop())
  return { keys, seen, answers }
}

test('remote keys: those of the last good answer count, also while the issuer does not answer, for a day', async t => {
  const { keys, seen, answers } = setUp(t)
  const [one, two] = [tokenKey('RS256'), tokenKey()]
  answers.push(setOf(one), setOf(one), setOf(one, two), new Error('no route'))
  await keys.start()
  t.strictSame([...keys.current.keys()], [one.id])
  for (let turn = 1; turn <= 4; turn++) {
    seen.now += hour
    await keys.start()
  }
  t.strictSame([[...keys.current.keys()], seen.changes, seen.faults], [[one.id, two.id], [1, 2], ['Error: no route']])
  seen.now += 24 * hour
  t.equal(keys.current.size, 0)
})

test('remote keys: without a first answer there are none, and that is tried again', async t => {
  const { keys, seen, answers } = setUp(t)
  answers.push(new Error('refused'), Buffer.from('<html>'), setOf(tokenKey()))
  await keys.start()
  await keys.start()
  t.strictSame([keys.current.size, seen.faults.length], [0, 2])
  await keys.start()
  t.equal(keys.current.size, 1)
})

test('remote keys: tokens with unknown keys cause one request in a while, however many there are', async t => {
  const { keys, seen, answers } = setUp(t)
  answers.push(setOf(tokenKey()))
  await keys.start()
  for (let turn = 0; turn < 1000; turn++) keys.refresh()
  t.equal(seen.fetches, 1)
  seen.now += 15_000
  for (let turn = 0; turn < 1000; turn++) keys.refresh()
  await until(() => seen.fetches === 2)
  keys.stop()
  seen.now += hour
  keys.refresh()
  t.equal(seen.fetches, 2)
})

test('remote keys: keys that verify nothing are passed over, and a secret is never a key', async t => {
  const { keys, seen, answers } = setUp(t)
  const good = tokenKey()
  const secret = { kty: 'oct', kid: 'secret', k: 'c2VjcmV0' }
  answers.push(
    setOf({ jwk: secret }, { jwk: { ...good.jwk, use: 'enc', kid: 'enc' } }, { jwk: { ...good.jwk, kid: undefined } }, { jwk: null }, good)
  )
  await keys.start()
  t.strictSame([[...keys.current.keys()], seen.faults], [[good.id], []])
  answers[0] = setOf({ jwk: secret })
  await keys.start()
  t.match(seen.faults, [/RSA or EC keys/])
  answers[0] = setOf(...Array(65).fill(good))
  await keys.start()
  t.match(seen.faults[1], /at most 64/)
})

test('fetch of keys: over TLS with the given authority and token; no redirect, no endless answer, nothing but 200', async t => {
  const place = folder(t)
  const { cert, key } = certificate(t)
  writeFileSync(join(place, 'token'), 'secret\n')
  const seen: (string | undefined)[] = []
  const server = createServer({ cert, key }, (request, response) => {
    seen.push(request.headers.authorization)
    if (request.url === '/redirect') response.writeHead(302, { location: '/keys' }).end()
    else if (request.url === '/endless') response.writeHead(200).write(Buffer.alloc(300 * 1024))
    else if (request.url === '/cut') response.writeHead(200, { 'content-length': 10 }).write('x', () => response.destroy())
    else response.end('{"keys":[]}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.closeAllConnections())
  t.teardown(() => void server.close())
  const ca = join(place, 'ca.pem')
  writeFileSync(ca, cert)
  const url = (path: string) => `https://127.0.0.1:${(server.address() as AddressInfo).port}${path}`
  t.equal((await fetchKeys({ url: url('/keys'), ca, token: join(place, 'token') })).toString(), '{"keys":[]}')
  t.strictSame(seen, ['Bearer secret'])
  await t.rejects(fetchKeys({ url: url('/redirect'), ca }), /the answer is 302/)
  await t.rejects(fetchKeys({ url: url('/endless'), ca }), /more than 262144 bytes/)
  await t.rejects(fetchKeys({ url: url('/cut'), ca }), /aborted/)
  await t.rejects(fetchKeys({ url: url('/keys') }), /self-signed certificate/)
  await t.rejects(fetchKeys({ url: url('/keys'), ca: join(place, 'none') }), /ENOENT/)
})
