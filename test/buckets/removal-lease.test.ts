import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { LocalSink } from '../../src/backend/local-sink.ts'
import { type Content, openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import * as keys from '../../src/content/keys.ts'
import type { RemovalLeaseTimes } from '../../src/content/shared/removal-lease.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { parseReference } from '../../src/oci/name.ts'
import { storedBytes } from '../../src/operations/tree.ts'
import type { S3Storage } from '../../storage/s3/s3.ts'
import { hour, noYield, summaries } from '../support/collect.ts'
import { blobText, imageOf, named, neverAborted, pushBlob, storeManifest, tagged } from '../support/content.ts'
import { proxyS3, type S3Proxy } from '../support/s3-proxy.ts'
import { makeBucket, openS3, type S3Server, startS3 } from '../support/s3-server.ts'

const name = named('a')
// Every request observes the lease.
const times: RemovalLeaseTimes = { statusTtlMs: 0, noticeMs: 0, pollMs: 20 }

interface Process {
  storage: S3Storage
  content: Content
  proxy: S3Proxy
  bucket: string
}

/** Two processes over one bucket, each behind its own proxy; `now` is the clock of both. */
async function two(t: Test, server: S3Server, now = () => Date.now() + 2 * hour, leaseTimes = times): Promise<[Process, Process]> {
  const bucket = makeBucket(server)
  const open = async (): Promise<Process> => {
    const proxy = await proxyS3(t, server)
    const storage = await openS3(t, proxy, { bucket })
    return { bucket, storage, proxy, content: openContent(storage, () => {}, { now, leaseTimes: leaseTimes }) }
  }
  return [await open(), await open()]
}

const collecting = ({ storage, content }: Process, inHours = 2) =>
  collect(storage, content, { grace: hour, unreferencedCached: 'sweep', yielder: noYield, now: () => Date.now() + inHours * hour })

/** Holds back the requests of a process for which `which` holds until `go`; `come` resolves when there is one. */
function halt({ proxy }: Process, which: (request: string) => boolean) {
  const [come, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  proxy.fate = (method, path) => {
    if (!which(`${method} ${path}`)) return 'pass'
    come.resolve()
    return { after: go.promise }
  }
  return { come: come.promise, go: () => go.resolve() }
}

/** Writes past the service, in whose directory objects are files. */
async function putFile({ root }: S3Server, { bucket }: Process, key: string, bytes: string | Buffer): Promise<void> {
  const path = join(root, bucket, key)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, bytes)
}

/** Makes an object look as if it had come so many hours ago. */
async function age({ root }: S3Server, { bucket }: Process, digest: Digest, hours: number): Promise<void> {
  const then = new Date(Date.now() - hours * hour)
  for (const key of [keys.blob(digest), keys.layer(name, digest), keys.revision(name, digest)])
    await utimes(join(root, bucket, key), then, then).catch(() => {})
}

/** An unreferenced blob whose time is old, and a garbage collection that has marked its repository. */
async function marked(
  t: Test,
  server: S3Server,
  one: Process,
  now = Date.now
): Promise<[run: ReturnType<typeof collecting>, digest: Digest]> {
  const digest = await pushBlob(one.content, name, 'config')
  await age(server, one, digest, 2)
  const run = collect(one.storage, one.content, { grace: hour, unreferencedCached: 'sweep', yielder: noYield, now })
  t.match(await run.next(), { value: { phase: 'mark' } })
  return [run, digest]
}

const outcomeOf = (push: Promise<unknown>): Promise<'acknowledged' | 'refused'> =>
  push.then(
    () => 'acknowledged',
    () => 'refused'
  )

/** Content without a cache. */
const afresh = ({ storage }: Process) => openContent(storage, () => {})

/** The `count`th observation of the removal lease. */
function observation(count: number): (request: string) => boolean {
  let left = count
  return request => request.startsWith('GET ') && request.includes('lease/removal') && --left === 0
}

/** How often a process has asked the storage for the bytes of `digest`. */
const asked = ({ proxy }: Process, digest: Digest): number => proxy.requests.filter(each => each.includes(keys.blob(digest))).length

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate)
}

const isDelete = (request: string) => /^POST .*\?delete|^DELETE /.test(request)
const putManifest = ({ content }: Process, bytes: Buffer) => new LocalSink(content).putManifest(name, parseReference('v1'), { bytes }, [])

test('several processes over one bucket', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('removal lease: one process collects at a time', async t => {
    const [one, other] = await two(t, server)
    const run = collecting(one)
    await pushBlob(one.content, name, 'x')
    await run.next()
    await t.rejects(Array.fromAsync(collecting(other)), { name: 'LeaseHeldError' })
    await run.return(undefined)
    t.ok((await Array.fromAsync(collecting(other))).length > 0)
  })

  await t.test('removal lease: a lease that fails at its start is released', async t => {
    const [one, other] = await two(t, server)
    one.proxy.fate = (method, path) => (method === 'HEAD' && path.includes('trial') ? { status: 403, code: 'AccessDenied' } : 'pass')
    await t.rejects(one.content.coordination.acquireRemovalLease())
    await (await other.content.coordination.acquireRemovalLease())()
  })

  await t.test(
    'announcement: a push of a blob that another process has just removed does not wait for the rest of the collection',
    async t => {
      const [one, other] = await two(t, server)
      const digest = await pushBlob(one.content, name, 'the bytes')
      const run = collecting(one)
      for (let next = await run.next(); next.value?.type !== 'remove'; next = await run.next());
      t.equal(await pushBlob(other.content, name, 'the bytes'), digest)
      await run.return(undefined)
    }
  )

  await t.test('barrier: a blob that is pushed again while another process removes it is kept, or the push is refused', async t => {
    const [one, other] = await two(t, server, Date.now)
    const digest = await pushBlob(one.content, name, 'the bytes')
    await age(server, one, digest, 2)
    const removing = halt(one, isDelete)
    const run = Array.fromAsync(collecting(one, 0))
    await removing.come
    // It is decided on, and takes effect only after the push has published the bytes.
    const published = halt(other, observation(2))
    const push = outcomeOf(pushBlob(other.content, name, 'the bytes'))
    await published.come
    removing.go()
    await run
    published.go()
    const outcome = await push
    t.equal(outcome === 'acknowledged', (await blobText(afresh(other), name, digest)) === 'the bytes', outcome)
    t.equal(await pushBlob(other.content, name, 'the bytes'), digest)
    t.equal(await blobText(one.content, name, digest), 'the bytes')
  })

  await t.test('barrier: a head, a mount or a manifest of a pending deletion does not report that the blob exists', async t => {
    const asks: ((other: Process, digest: Digest) => Promise<unknown>)[] = [
      (other, digest) => other.content.blobs.statRenewed(name, digest),
      (other, digest) => new LocalSink(other.content).mountBlob(name, digest),
      other => putManifest(other, imageOf('the bytes', []))
    ]
    for (const ask of asks) {
      const [one, other] = await two(t, server, Date.now)
      const digest = await pushBlob(one.content, name, 'the bytes')
      await age(server, one, digest, 2)
      const removing = halt(one, isDelete)
      const run = Array.fromAsync(collecting(one, 0))
      await removing.come
      const answer = ask(other, digest).catch(() => undefined)
      const waiting = other.proxy.requests.length
      while (!other.proxy.requests.slice(waiting).some(each => each.includes('lease/removal'))) await new Promise(setImmediate)
      removing.go()
      await run
      const reported = await answer
      const there = (await afresh(other).blobs.stat(name, digest)) !== undefined
      t.equal(Boolean(reported), there, `reported ${reported}`)
    }
  })

  await t.test('sweep: a blob that another process renewed since it was marked is kept', async t => {
    const [one, other] = await two(t, server)
    const digest = await pushBlob(one.content, name, 'the bytes')
    // The collection goes by the true time from here on, the head by one that makes everything old.
    let inHours = 2
    const run = collect(one.storage, one.content, {
      grace: hour,
      unreferencedCached: 'sweep',
      yielder: {
        step: async () => {
          if (inHours === 0) return
          inHours = 0
          t.equal(await other.content.blobs.statRenewed(name, digest), 9)
        }
      },
      now: () => Date.now() + inHours * hour
    })
    t.strictSame(summaries(await Array.fromAsync(run)), [])
  })

  await t.test('concurrent push: a manifest of another process keeps what it needs, however long the collection runs after it', async t => {
    let inHours = 0
    const now = () => Date.now() + inHours * hour
    const [one, other] = await two(t, server, now)
    const [run, digest] = await marked(t, server, one, now)
    const manifest = imageOf('config', [])
    t.ok(await putManifest(other, manifest))
    t.ok(now() - ((await one.storage.stat(keys.blob(digest)))?.modified ?? 0) < hour, 'what it needs is new for a while')
    inHours = 2
    t.strictSame(summaries(await Array.fromAsync(run)), [])
    t.equal(await blobText(afresh(one), name, digest), 'config')
  })

  await t.test('concurrent push: a manifest that another process tagged is kept, however long the collection runs after it', async t => {
    let inHours = 0
    const now = () => Date.now() + inHours * hour
    const [one, other] = await two(t, server, now)
    await pushBlob(one.content, name, 'config')
    // One more than go together.
    const manifests = Array.from({ length: 101 }, (_, at) => imageOf('config', [], { annotations: { at: String(at) } }))
    for (const bytes of manifests) {
      await putFile(server, one, keys.blob(digestOf(bytes)), bytes)
      await putFile(server, one, keys.revision(name, digestOf(bytes)), digestOf(bytes))
      await age(server, one, digestOf(bytes), 2)
    }
    const run = collect(one.storage, one.content, { grace: hour, untagged: hour, unreferencedCached: 'sweep', yielder: noYield, now })
    const gone = [(await run.next()).value as { digest: Digest }].map(each => each.digest)
    const last = manifests.sort((a, b) => (digestOf(a) < digestOf(b) ? -1 : 1)).at(-1) ?? Buffer.alloc(0)
    t.not(gone[0], digestOf(last))
    await putManifest(other, last)
    inHours = 2
    await Array.fromAsync(run)
    t.ok(await afresh(one).manifests.get(name, digestOf(last)))
    t.equal(await blobText(afresh(one), name, digestOf(Buffer.from('config'))), 'config')
  })

  await t.test('barrier: a manifest whose blob was removed since it was checked is refused, also when the collection is over', async t => {
    const [one, other] = await two(t, server, Date.now)
    const [run] = await marked(t, server, one)
    const second = halt(other, observation(2))
    const push = outcomeOf(putManifest(other, imageOf('config', [])))
    await second.come
    t.equal(summaries(await Array.fromAsync(run)).length, 2)
    second.go()
    t.equal(await push, 'refused')
  })

  await t.test('barrier: a blob that another push is still renewing does not count as renewed', async t => {
    const [one, other] = await two(t, server, Date.now)
    const [run, digest] = await marked(t, server, one)
    const renewing = halt(other, request => request.startsWith('PUT ') && request.includes(keys.blob(digest)))
    const first = outcomeOf(putManifest(other, imageOf('config', [])))
    await renewing.come
    const before = asked(other, digest)
    const second = outcomeOf(putManifest(other, imageOf('config', [], { annotations: { second: 'yes' } })))
    await until(() => asked(other, digest) > before)
    await new Promise(setImmediate)
    await Array.fromAsync(run)
    renewing.go()
    const there = (await blobText(afresh(one), name, digest)) !== undefined
    for (const push of [first, second]) t.ok(there || (await push) === 'refused')
  })

  await t.test('barrier: a manifest whose blob could not be renewed is refused, and so is a head', async t => {
    const [one, other] = await two(t, server, Date.now)
    const [run, digest] = await marked(t, server, one)
    const copy = (method: string, path: string) => method === 'PUT' && path.includes(keys.blob(digest))
    other.proxy.fate = (method, path) => (copy(method, path) ? { status: 403, code: 'AccessDenied' } : 'pass')
    for (let time = 0; time < 2; time++) t.equal(await outcomeOf(putManifest(other, imageOf('config', []))), 'refused')
    await t.rejects(other.content.blobs.statRenewed(name, digest), { code: 'ESTALLED' })
    other.proxy.fate = () => 'pass'
    t.equal(await other.content.blobs.statRenewed(name, digest), 6)
    await run.return(undefined)
  })

  await t.test('removal lease: a process that lost it removes nothing any more, not even by requests that it sent before', async t => {
    const short = { ...times, lease: { ttlMs: 4_000, settleMs: 10 } }
    const [one, other] = await two(t, server, undefined, short)
    const digest = await pushBlob(one.content, name, 'the bytes')
    const go = Promise.withResolvers<void>()
    const come = Promise.withResolvers<void>()
    one.proxy.fate = (method, path) => {
      if (!isDelete(`${method} ${path}`)) return 'pass'
      come.resolve()
      one.proxy.fate = (_method, path) => (path.includes('lease/removal') ? { status: 403, code: 'AccessDenied' } : 'pass')
      return { after: go.promise }
    }
    const run = outcomeOf(Array.fromAsync(collecting(one)))
    await come.promise
    let release: (() => Promise<void>) | undefined
    for (; !release; await delay(100)) release = await other.content.coordination.acquireRemovalLease().catch(() => undefined)
    t.equal(await other.content.blobs.statRenewed(name, digest), 9)
    go.resolve()
    t.equal(await run, 'refused')
    t.equal(await blobText(afresh(other), name, digest), 'the bytes')
    await release()
  })

  await t.test('barrier: a cached link that another process removed is not followed, also when the bytes are back', async t => {
    const [one, other] = await two(t, server, Date.now)
    const digest = await pushBlob(one.content, name, 'config')
    await age(server, one, digest, 2)
    t.equal(await other.content.blobs.stat(name, digest), 6, 'it is cached')
    t.ok(summaries(await Array.fromAsync(collecting(one, 0))).includes(`link ${digest}`))
    await pushBlob(one.content, named('b'), 'config')
    t.equal(await outcomeOf(putManifest(other, imageOf('config', []))), 'refused')
    t.equal(await other.content.blobs.statRenewed(name, digest), undefined)
  })

  await t.test('tags: one that another process has just moved is kept when the manifest that it named is deleted or evicted', async t => {
    const [one, other] = await two(t, server)
    await pushBlob(one.content, name, 'config')
    const tag = tagged('v1')
    const [first, second] = [imageOf('config', []), imageOf('config', [], { annotations: { second: 'yes' } })]
    const upstream = { upstream: 'upstream.example', checked: 0 }
    for (const remove of [
      (digest: Digest) => new LocalSink(other.content).deleteManifest(name, { digest }),
      (digest: Digest) => other.content.removals.removeManifests(name, [{ digest, tags: [tag] }], () => true)
    ]) {
      const digest = digestOf(first)
      await other.content.commit.putManifest(name, digest, first, { tags: [tag], provenance: { ...upstream, digest } })
      t.equal(await other.content.tags.resolve(name, tag), digest, 'it is cached')
      await putManifest(one, second)
      const release = await other.content.coordination.acquireRemovalLease()
      await remove(digest)
      await release()
      t.equal(await afresh(one).tags.resolve(name, tag), digestOf(second))
      await new LocalSink(one.content).deleteManifest(name, { tag })
    }
  })

  await t.test('listing: a collection and a count of thousands of blobs cost one request per thousand', async t => {
    const [one] = await two(t, server)
    const layers = Array.from({ length: 2_100 }, (_, at) => `layer ${at}`)
    const put = (key: string, bytes: string) => putFile(server, one, key, bytes)
    for (const layer of layers) {
      const digest = digestOf(Buffer.from(layer))
      await put(keys.blob(digest), layer)
      await put(keys.layer(name, digest), digest)
    }
    await storeManifest(one.content, name, imageOf('layer 0', layers.slice(1, 2_000)), { tags: [tagged('v1')] })
    const before = one.proxy.requests.length
    t.equal(summaries(await Array.fromAsync(collecting(one, 0))).length, 0)
    const collected = one.proxy.requests.length - before
    t.ok(collected < 60, `${collected} requests of a collection that removes nothing`)
    await storedBytes(one.storage, neverAborted)
    const sum = one.proxy.requests.length - before - collected
    t.ok(sum <= 3, `${sum} requests of a sum`)
    t.equal(summaries(await Array.fromAsync(collecting(one))).filter(each => each.startsWith('blob')).length, 100)
  })
})
