import { asyncProperty, constantFrom, nat, option, tuple } from 'fast-check'
import { test } from 'tap'
import { Client, digestOf } from '../long/client.ts'
import { repeat } from '../long/scale.ts'
import { StoredBlobs } from '../long/stored.ts'
import { findStrangers, lookAround } from './footprint.ts'
import { judge } from './judge.ts'
import { manifests } from './manifests.ts'
import { garbage } from './message.ts'
import { connectTo, openPlace } from './place.ts'
import { checkPage, checkRange } from './reads.ts'
import { rangeField, requests, scratch } from './requests.ts'
import { casesRun, tryServer } from './run.ts'
import { sequences, upload } from './uploads.ts'
import { parseAnswer, throwAt } from './wire.ts'

// Of all cases; those of functions alone come on top.
const least = 50_000
const nothing = { headers: [] as [string, string][], body: new Uint8Array(), framing: 'length' as const }

test(`fuzz: a registry that is asked for everything (${repeat})`, async t => {
  const place = await openPlace(t)
  const { server, known, content, folder, statuses } = place
  const before = await lookAround(folder)
  const connect = () => connectTo(t, place)

  await t.test('any request: an answer below 500, errors in the form of the specification, bytes of their digest', async () => {
    await tryServer(connect, judged => asyncProperty(requests(known), async request => void (await judged.send(request))), 38_000)
  })

  await t.test('any range of a blob: the part that Content-Range names, all of it, or 416', async () => {
    const path = `/v2/${known.name}/blobs/${known.digests[1]}`
    const bytes = content.get(path) ?? Buffer.alloc(0)
    const validators = option(constantFrom(`"${known.digests[1]}"`, `W/"${known.digests[1]}"`, '"other"', '*'), { nil: undefined, freq: 1 })
    const asked = tuple(constantFrom('GET', 'GET', 'HEAD'), rangeField, validators, validators)
    const property = (judged: ReturnType<typeof connect>) =>
      asyncProperty(asked, async ([method, range, ifRange, ifNoneMatch]) => {
        const fields = { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch }
        const headers = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined)
        checkRange(await judged.send({ ...nothing, method, target: path, headers }), { method, bytes, headers: fields })
      })
    await tryServer(connect, property, 8_000)
  })

  await t.test('any manifest: stored byte for byte or refused with a reason', async t => {
    let accepted = 0
    const own = { ...known, digests: [digestOf(Buffer.from('{}')), ...known.digests] }
    const asked = tuple(manifests(own), constantFrom('t1', 't2', undefined), nat(3))
    const property = (judged: ReturnType<typeof connect>) =>
      asyncProperty(asked, async ([{ bytes, type }, tag, wrong]) => {
        const reference = tag ?? digestOf(wrong === 0 ? Buffer.from('other') : bytes)
        const headers: [string, string][] = type === undefined ? [] : [['content-type', type]]
        const target = `/v2/${scratch}/manifests/${reference}`
        const { status } = await judged.send({ method: 'PUT', target, headers, body: bytes, framing: 'length' })
        if (![201, 400, 404, 413].includes(status)) throw new Error(`a manifest was answered with ${status}`)
        if (status !== 201) return
        const read = await judged.send({ ...nothing, method: 'GET', target: `/v2/${scratch}/manifests/${digestOf(bytes)}` })
        if (!read.body.equals(bytes)) throw new Error(`what was accepted is read back with ${read.status}`)
        accepted++
      })
    await tryServer(connect, property, 6_000)
    t.ok(accepted > 0, `${accepted} were stored`)
  })

  await t.test('any sequence of an upload session: it stands where the accepted bytes end', async () => {
    await tryServer(connect, judged => asyncProperty(sequences, sequence => upload(judged, sequence)), 1_500)
  })

  await t.test('any page of a list: in order, after last, at most n, and the rest behind the link', async () => {
    const asked = tuple(
      constantFrom('/v2/_catalog', `/v2/${known.name}/tags/list`),
      nat(5),
      constantFrom('', 'a', 'v1', 'v2.0', 'zzz', 'fuzz/known', '%00', '%ff')
    )
    await tryServer(connect, judged => asyncProperty(asked, ([path, n, last]) => checkPage(judged, { path, n, last })), 1_500)
  })

  await t.test('any bytes: answers that are HTTP and below 500, or a closed connection', async () => {
    const property = () =>
      asyncProperty(garbage(requests(known)), async bytes => {
        let rest = await throwAt(server.address, bytes)
        while (rest.length > 0) {
          const found = parseAnswer(rest, 'GET', 'ended')
          if (!found) throw new Error(`not an answer: ${rest.toString('latin1', 0, 200)}`)
          // The registry may have hung up in the middle of what was asked before the garbage.
          if (!found.answer.cut) judge('GET', found.answer, statuses)
          rest = rest.subarray(found.used)
        }
      })
    await tryServer(() => undefined, property, 5_000)
  })

  await t.test('afterwards the registry lives, its content is whole, and nothing lies where it should not', async t => {
    t.comment(
      `${casesRun()} cases, ${[...statuses]
        .sort()
        .map(([status, count]) => `${status}: ${count}`)
        .join(', ')}`
    )
    for (const status of [200, 201, 202, 204, 206, 304, 400, 404, 405, 416])
      t.ok((statuses.get(status) ?? 0) > 0, `${status} was among the answers`)
    t.ok(casesRun() >= least, `at least ${least} cases were tried`)
    const client = new Client(server.address, 1)
    const admin = new Client(server.admin, 1)
    t.teardown(() => Promise.all([client.close(), admin.close()]))
    t.equal((await admin.ask('GET', '/livez')).status, 200, '/livez is well')
    t.equal((await admin.ask('GET', '/readyz/write')).status, 200, '/readyz/write is well')
    for (const [path, bytes] of content) t.ok((await client.ask('GET', path)).body.equals(bytes), `${path} is what it was`)
    t.same(await new StoredBlobs(server.root).findDamaged(), [], 'every stored blob has the bytes of its digest')
    t.same(await findStrangers(server.root), [], 'below the root there is nothing but the layout')
    t.same(await lookAround(folder), before, 'around the root there is nothing new')
    t.equal(await server.stop(), 0, 'it ends as it should')
  })
})
