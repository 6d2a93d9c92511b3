import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import {
  type Answer,
  ask,
  bytesOf,
  codeOf,
  dataPath,
  digestOf,
  imageOf,
  metric,
  openFiles,
  pushImage,
  putManifest,
  reasonOf,
  startSession,
  until
} from '../src/support.ts'
import { mountSmall } from '../support/place.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, type Changeable, serveModes, storedFills } from './scene.ts'

const MIB = 2 ** 20

function push(served: Changeable, bytes: Uint8Array): Promise<Answer> {
  return ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes })
}

/** A body of unknown length. */
async function chunked({ listen }: Changeable, path: string, bytes: Uint8Array): Promise<Pick<Answer, 'status' | 'body'>> {
  const [host, port] = listen.split(':')
  const outgoing = request({ host, port, method: 'PATCH', path, agent: false, headers: { 'transfer-encoding': 'chunked' } })
  outgoing.on('error', () => {})
  outgoing.end(bytes)
  const [response] = await once(outgoing, 'response')
  return { status: response.statusCode, body: Buffer.concat(await response.toArray()) }
}

interface Detail {
  limit: string
  needed: number
  excess: number
  reason: string
}

function detailOf({ body }: Pick<Answer, 'body'>): Detail {
  return JSON.parse(body.toString()).errors[0].detail
}

/** Pushes until one is refused; everything that was acknowledged must be there, also after a restart. */
async function fill(served: Changeable, size: number): Promise<{ refused: Answer; acknowledged: Map<string, Buffer> }> {
  const acknowledged = new Map<string, Buffer>()
  for (;;) {
    const bytes = bytesOf(size)
    const answer = await push(served, bytes)
    if (answer.status !== 201) return { refused: answer, acknowledged }
    acknowledged.set(digestOf(bytes), bytes)
  }
}

async function allThere(t: Test, served: Changeable, acknowledged: Map<string, Buffer>): Promise<void> {
  for (const [digest, bytes] of acknowledged) {
    const { status, body } = await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)
    t.ok(status === 200 && body.equals(bytes), digest)
  }
}

test('a budget: a push beyond it is refused with 507 that says which limit and by how much, before the body and in its middle', async t => {
  const served = await serveModes(t, { registry: { mode: 'Local' }, storage: { budget: '4MiB' } })
  const image = await pushImage(served, 'a', 'v1')
  const session = await startSession(served, 'a')
  const { refused, acknowledged } = await fill(served, MIB)
  t.equal(acknowledged.size, 3)
  t.strictSame([refused.status, codeOf(refused)], [507, 'INSUFFICIENT_STORAGE'])
  const { limit, needed, excess, reason } = detailOf(refused)
  t.strictSame([limit, needed], ['storage.budget', MIB + 4096], 'with its links')
  const used = (await metric(served, 'registry_storage_used_bytes')) ?? 0
  t.ok(used <= 4 * MIB, `${used} bytes are used`)
  t.match(reason, new RegExp(`^storage.budget allows ${4 * MIB} bytes, \\d+ are used, and ${needed} more are needed: ${excess} too many$`))
  const middle = await chunked(served, session, bytesOf(3 * MIB))
  t.strictSame([middle.status, detailOf(middle).limit], [507, 'storage.budget'])
  t.ok(((await metric(served, 'registry_storage_used_bytes')) ?? 0) <= used, 'what came of it is gone')
  await allThere(t, served, acknowledged)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), image.manifest)
  t.equal(await metric(served, 'registry_storage_budget_bytes'), 4 * MIB)
})

test('a budget: pushes beside each other do not go beyond it, and what has begun can end', async t => {
  const served = await serveModes(t, { registry: { mode: 'Local' }, storage: { budget: '4MiB' } })
  const pushes = await Promise.all(Array.from({ length: 12 }, () => push(served, bytesOf(MIB))))
  t.ok(pushes.every(each => each.status === 201 || each.status === 507))
  t.ok(((await metric(served, 'registry_storage_used_bytes')) ?? 0) <= 4 * MIB)
  const last = await startSession(served, 'a')
  const { acknowledged } = await fill(served, 200_000)
  await fill(served, 1000)
  const [config] = [...acknowledged.values()]
  if (!config) return void t.fail('something fits')
  t.equal((await ask(served.listen, 'PUT', `${last}?digest=${digestOf('')}`)).status, 201)
  const answer = await putManifest(served, 'a', 'v1', imageOf([config]))
  t.ok(answer.status === 201 || detailOf(answer).limit === 'storage.budget')
  t.equal((await ask(served.listen, 'DELETE', `/v2/a/blobs/${digestOf(config)}`)).status, 202)
  t.strictSame(await openFiles(served.root), [])
})

test('a budget: it is kept after a restart, and raised by a reload', async t => {
  const first = await serveModes(t, { registry: { mode: 'Local' }, storage: { budget: '2MiB' } })
  const { acknowledged } = await fill(first, MIB / 4)
  await first.stop()
  const served = await serveModes(t, { registry: { mode: 'Local' }, storage: { budget: '2MiB' } }, first.root)
  const bytes = bytesOf(MIB / 2)
  t.equal((await push(served, bytes)).status, 507)
  t.match(await served.change({ registry: { mode: 'Local' }, storage: { budget: '4MiB' } }), {
    result: 'applied',
    changed: ['storage.budget']
  })
  t.equal((await push(served, bytes)).status, 201)
  await allThere(t, served, acknowledged)
})

test('a reserve: a push into it is refused with 507, whoever filled the disk, and reads go on', async t => {
  const mounted = await mountSmall(t, 8 * MIB)
  if (typeof mounted === 'string') return void t.pass('tmpfs', { skip: mounted })
  const served = await serveModes(t, { registry: { mode: 'Local' }, storage: { reserve: '25%' } }, mounted.directory)
  const { refused, acknowledged } = await fill(served, MIB)
  t.strictSame([refused.status, detailOf(refused).limit], [507, 'storage.reserve'])
  t.match(
    reasonOf(refused),
    new RegExp(`^storage.reserve keeps ${2 * MIB} bytes of the disk free, \\d+ are, and ${MIB + 4096} more are needed`)
  )
  t.equal(acknowledged.size, 5)
  t.equal((await ask(served.admin, 'GET', '/readyz/write')).status, 200, 'a little still fits')
  await writeFile(join(mounted.directory, 'of-others'), Buffer.alloc(MIB))
  await until(async () => (await ask(served.admin, 'GET', '/readyz/write')).status === 503)
  t.match((await ask(served.admin, 'GET', '/readyz/write')).body.toString(), /storage.reserve/)
  t.equal((await push(served, bytesOf(1))).status, 507)
  await allThere(t, served, acknowledged)
  await served.stop()
  await allThere(t, await serveModes(t, { registry: { mode: 'Local' } }, mounted.directory), acknowledged)
})

test('a disk without inodes: pushes are refused with 507, and everything that was acknowledged is there, also after a restart', async t => {
  const mounted = await mountSmall(t, 64 * MIB, 200)
  if (typeof mounted === 'string') return void t.pass('tmpfs', { skip: mounted })
  for (const storage of [{ inodeReserve: '20%' }, { inodeBudget: 150 }, {}]) {
    const served = await serveModes(t, { registry: { mode: 'Local' }, storage }, mounted.directory)
    const { refused, acknowledged } = await fill(served, 5000)
    t.equal(refused.status, 507)
    const answer = await ask(served.listen, 'PUT', `/v2/${randomUUID()}/manifests/v1`, { body: '{}' })
    t.ok(answer.status >= 400 && answer.status !== 500, `${answer.status}`)
    await allThere(t, served, acknowledged)
    await served.stop()
    const again = await serveModes(t, { registry: { mode: 'Local' } }, mounted.directory)
    await allThere(t, again, acknowledged)
    await again.stop()
  }
})

test('Proxy: what has no room in the budget is passed through, and what has is stored', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream), storage: { budget: '2MiB' } })
  const [large, small] = [blobBehind(upstream, 3 * MIB), blobBehind(upstream, 1000)]
  t.equal((await pull(served.listen, large.path)).digest, large.digest)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="bypass"}'), 1)
  t.equal(await metric(served, 'registry_fills_total', '{result="full"}'), 1)
  t.equal((await pull(served.listen, small.path)).digest, small.digest)
  await storedFills(served, 1)
  await t.rejects(stat(dataPath(served.root, large.digest)))
})

test('Proxy: fills beside each other are promised no more than there is', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream), storage: { budget: '4MiB' } })
  const blobs = Array.from({ length: 8 }, () => blobBehind(upstream, MIB))
  const pulls = await Promise.all(blobs.map(({ path }) => pull(served.listen, path)))
  t.strictSame(
    pulls.map(each => each.digest),
    blobs.map(each => each.digest)
  )
  const ended = async (result: string) => (await metric(served, 'registry_fills_total', `{result="${result}"}`)) ?? 0
  await until(async () => (await ended('stored')) + (await ended('full')) === 8)
  t.ok((await ended('stored')) > 0)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="bypass"}'), await ended('full'))
  t.equal(served.logged('request failed').length, 0)
  t.ok(((await metric(served, 'registry_storage_used_bytes')) ?? 0) <= 4 * MIB)
})

test('Proxy: a blob of unknown size that goes beyond the budget is served whole', async t => {
  const upstream = await startUpstream(t)
  upstream.faults.noLength = true
  const served = await serveModes(t, { registry: behind('Proxy', upstream), storage: { budget: '2MiB' } })
  const large = blobBehind(upstream, 5 * MIB)
  const pulls = await Promise.all([1, 2].map(() => pull(served.listen, large.path)))
  t.strictSame(
    pulls.map(each => [each.digest, each.complete]),
    Array(2).fill([large.digest, true])
  )
  const small = blobBehind(upstream, 1000)
  t.equal((await pull(served.listen, small.path)).digest, small.digest)
  await storedFills(served, 1)
})
