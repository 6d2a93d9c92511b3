import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { acquireLease, type Lease, observeLease } from '../../storage/lease.ts'
import type { S3Storage } from '../../storage/s3/s3.ts'
import type { Fate } from '../support/s3-proxy.ts'
import { proxyS3 } from '../support/s3-proxy.ts'
import { makeBucket, openS3, type S3Server, startS3 } from '../support/s3-server.ts'

const key = '.registry/lease/test'
type Headers = NodeJS.Dict<string | string[]>

const long = { ttlMs: 60_000, settleMs: 200 }

async function take(t: Test, { conditionalObjects: agreement }: S3Storage, times = long): Promise<Lease | undefined> {
  const lease = await acquireLease(agreement, key, times)
  t.teardown(() => lease?.release())
  return lease
}

/** Two storages in one bucket, each behind its own proxy. */
async function two(t: Test, server: S3Server) {
  const bucket = makeBucket(server)
  const proxies = [await proxyS3(t, server), await proxyS3(t, server)] as const
  return { proxies, one: await openS3(t, proxies[0], { bucket }), other: await openS3(t, proxies[1], { bucket }) }
}

test('leases', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('lease: one at a time has it, and the next one when it is released', async t => {
    const { one, other } = await two(t, server)
    t.equal(await one.conditionalObjects.isReplaceAtomic(), true)
    const first = await take(t, one)
    t.ok(first)
    t.equal(await take(t, other), undefined)
    await first?.announce(['a', 'b'])
    t.match(await observeLease(other.conditionalObjects, key), { held: true, said: ['a', 'b'] })
    await first?.release()
    t.match(await observeLease(other.conditionalObjects, key), { held: false, said: [] })
    t.ok(await take(t, other))
    t.throws(() => first?.check(), { name: 'LeaseLostError' })
  })

  await t.test('lease: of many who want it at once one gets it, the first time and when it has ended', async t => {
    const { one, other } = await two(t, server)
    for (let round = 0; round < 3; round++) {
      const all = await Promise.all([one, other, one, other, one, other].map(each => take(t, each)))
      t.equal(all.filter(each => each !== undefined).length, 1)
      await all.find(each => each !== undefined)?.release()
    }
  })

  await t.test('lease: one that is renewed stays, one whose process is gone is taken over', async t => {
    const { one, other, proxies } = await two(t, server)
    const short = { ttlMs: 4_000, settleMs: 10 }
    const lease = await take(t, one, short)
    const version = (await observeLease(other.conditionalObjects, key))?.version
    while ((await observeLease(other.conditionalObjects, key))?.version === version) await sleep(50)
    t.equal(await take(t, other, short), undefined)
    proxies[0].fate = () => ({ status: 403, code: 'AccessDenied' })
    let next = await take(t, other, short)
    for (; !next; next = await take(t, other, short)) await sleep(50)
    t.ok(lease?.signal.aborted, 'who could not renew it knows before another one has it')
    await t.rejects(lease?.announce([]) ?? Promise.resolve(), { name: 'LeaseLostError' })
  })

  await t.test('lease: what is said while a renewal is late is not taken back by the next renewal', async t => {
    const { one, other, proxies } = await two(t, server)
    const lease = await take(t, one, { ttlMs: 12_000, settleMs: 10 })
    await lease?.announce(['old'])
    const gate = Promise.withResolvers<void>()
    const puts = () => proxies[0].requests.filter(each => each.startsWith('PUT ')).length
    proxies[0].fate = method => (method === 'PUT' ? { after: gate.promise } : 'pass')
    const before = puts()
    while (puts() === before) await sleep(20)
    const saying = lease?.announce(['new'])
    // Long enough for the next one to want its turn.
    await sleep(3_300)
    gate.resolve()
    await saying
    while (puts() < before + 3) await sleep(20)
    await sleep(200)
    t.match(await observeLease(other.conditionalObjects, key), { said: ['new'] })
  })

  await t.test('lease: where another one took it, the former one hears of it with the next word', async t => {
    const { one, other } = await two(t, server)
    const lease = await take(t, one)
    const seen = await other.conditionalObjects.get(key)
    t.ok(await other.conditionalObjects.replace(key, Buffer.from('{"owner":"x","turn":1,"lasts":60000,"said":[]}'), seen?.version))
    await t.rejects(lease?.announce(['a']) ?? Promise.resolve(), { name: 'LeaseLostError' })
    t.ok(lease?.signal.aborted)
  })

  await t.test('lease: a service without conditional puts is found out, and the lease is looked at after it was put', async t => {
    for (const answer of [
      { status: 501, code: 'NotImplemented' },
      { status: 200, code: 'Ignored' }
    ]) {
      const conditional = (headers: Headers) => headers['if-match'] !== undefined || headers['if-none-match'] !== undefined
      const fate = (_method: string, _path: string, headers: Headers): Fate => (conditional(headers) ? answer : 'pass')
      const { one, other, proxies } = await two(t, server)
      for (const proxy of proxies) proxy.fate = fate
      t.equal(await one.conditionalObjects.isReplaceAtomic(), false)
      const all = await Promise.all([one, other, one, other].map(each => take(t, each)))
      t.equal(all.filter(each => each !== undefined).length, 1)
      t.equal(await take(t, other), undefined)
      const [lease] = all.filter(each => each !== undefined)
      await lease?.announce(['a'])
      t.match(await observeLease(other.conditionalObjects, key), { held: true, said: ['a'] })
    }
  })
})
