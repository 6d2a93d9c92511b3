import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { S3Client } from '@aws-sdk/client-s3'
import { type Test, test } from 'tap'
import { openContent } from '../../src/content/content.ts'
import * as keys from '../../src/content/keys.ts'
import { digestOf, parseDigest } from '../../src/oci/digest.ts'
import { copyStorage, type StorageCopyEvent } from '../../src/operations/copy-storage.ts'
import { createSemaphore } from '../../storage/semaphore.ts'
import type { Storage } from '../../storage/storage.ts'
import { describe, imageOf, named, neverAborted, pushBlob, storeManifest, tagged } from '../support/content.ts'
import { temporaryDirectory } from '../support/place.ts'
import { type Fate, proxyS3, type S3Proxy } from '../support/s3-proxy.ts'
import { makeBucket, multipartUploads, openS3, ownerOf, type S3Server, startS3 } from '../support/s3-server.ts'
import { openStorage, watchStorage } from '../support/storage.ts'

const name = named('a/b')
const small = 'one'
// Of parts of 5 MiB: a whole one and a short one.
const large = randomBytes(6 * 1024 * 1024)
const atOnce = createSemaphore(8)

async function fill(storage: Storage): Promise<void> {
  const content = openContent(storage, () => {})
  for (const blob of ['config', small, large]) await pushBlob(content, name, blob)
  const layers = [small, large].map(each => describe(each))
  await storeManifest(content, name, imageOf('config', [], { layers }), { tags: [tagged('v1')] })
  await content.provenance.set(name, digestOf(Buffer.from(small)), 'registry.test/x')
}

const copy = (from: Storage, to: Storage): Promise<StorageCopyEvent[]> => Array.fromAsync(copyStorage(from, to, neverAborted))

const fails = (copying: Promise<unknown>) =>
  copying.then(
    () => false,
    () => true
  )

/** The objects below a directory by their keys, and the size of each. */
function objectsIn(directory: string): Map<string, number> {
  const found = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(each => each.isFile())
  const keys = found.map(each => join(each.parentPath, each.name).slice(directory.length + 1)).sort()
  return new Map(keys.map(key => [key, statSync(join(directory, key)).size]))
}

/** The content of a registry in a storage. */
function kept(directory: string): [key: string, size: number][] {
  return [...objectsIn(directory)].filter(([key]) => key.startsWith('docker/') || key.startsWith(keys.provenance))
}

/** The dangling links of a storage. */
function incomplete(directory: string): string[] {
  const there = objectsIn(directory)
  return [...there.keys()]
    .filter(key => key.startsWith('docker/'))
    .filter(key => {
      const bytes = readFileSync(join(directory, key))
      const digest = keys.digestOfBlob(key)
      return digest ? digestOf(bytes) !== digest : !there.has(keys.blob(parseDigest(bytes.toString())))
    })
}

/** A request without the ids in it. */
function kindOf(method: string, path: string): string {
  const [, , below = ''] = /^(\/[^/?]+)(.*)$/.exec(decodeURIComponent(path)) ?? []
  return `${method} ${below.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '*')}`
}

const isChange = (request: string) => !/^(GET|HEAD) /.test(request)

/** A bucket, and its storage behind a proxy. */
interface Place {
  proxy: S3Proxy
  bucket: string
  storage: Storage
}

async function place(t: Test, server: S3Server, bucket = makeBucket(server)): Promise<Place> {
  const proxy = await proxyS3(t, server)
  const storage = await openS3(t, proxy, { bucket })
  // At its start the driver looks for debris of other processes.
  while (!proxy.requests.some(each => each.endsWith('uploads='))) await delay(5)
  return { proxy, bucket, storage }
}

interface Scene {
  server: S3Server
  owner: S3Client
  /** All objects. */
  whole: [key: string, size: number][]
}

/** After an interrupted copy the target has no dangling link, and the next run copies what is missing and nothing else. */
async function expectResumed(
  t: Test,
  { server, owner, whole }: Scene,
  from: Storage,
  { proxy, bucket, storage }: Place,
  what: string
): Promise<void> {
  proxy.fate = () => 'pass'
  const directory = join(server.root, bucket)
  const unfinished = () => multipartUploads(owner, bucket)
  const [before, wrong, left, seen] = [kept(directory), incomplete(directory), await unfinished(), proxy.requests.length]
  const last = (await copy(from, storage)).at(-1)
  const changed = proxy.requests.slice(seen).map(decodeURIComponent).filter(isChange)
  const again = before.filter(([key]) => changed.some(request => request.includes(key)))
  const temporary = [...objectsIn(directory).keys()].filter(key => key.startsWith('.registry/tmp'))
  t.match(last, { type: 'done', copied: whole.length - before.length, damaged: 0 }, what)
  t.strictSame({ wrong, left, again, temporary }, { wrong: [], left: [], again: [], temporary: [] }, what)
  t.strictSame({ kept: kept(directory), left: await unfinished() }, { kept: whole, left: [] }, what)
}

/** All kinds of requests that a task sends to a storage. */
async function kindsOf({ proxy, storage }: Place, task: (storage: Storage) => Promise<unknown>): Promise<string[]> {
  const seen = proxy.requests.length
  await task(storage)
  return [...new Set(proxy.requests.slice(seen).map(each => kindOf(...(each.split(' ', 2) as [string, string]))))]
}

async function fromDisk(t: Test, server: S3Server): Promise<Scene & { from: Storage }> {
  const root = await temporaryDirectory(t)
  const from = await openStorage(t, root)
  await fill(from)
  return { server, owner: ownerOf(t, server), whole: kept(root), from }
}

test('copy-storage, to a bucket: whichever call fails, the target has no dangling link, and the next run resumes', async t => {
  const server = await startS3(t)
  if (!server) return
  const { from, ...scene } = await fromDisk(t, server)
  const calls: string[] = []
  await copy(
    from,
    watchStorage((await place(t, server)).storage, (call, key) => void calls.push(`${call} ${key}`))
  )
  const brokenAt = async (at: number) => {
    const to = await place(t, server)
    let left = at
    const target = watchStorage(to.storage, () => {
      if (left-- === 0) throw new Error('interrupted')
    })
    t.ok(await fails(copy(from, target)))
    await expectResumed(t, scene, from, to, `interrupted at call ${at}: ${calls[at]}`)
  }
  // Of the writes of one object the first and the last stand for all.
  const isMiddle = (at: number) => [at - 1, at + 1].every(each => calls[each] === calls[at])
  await Promise.all(calls.map((_, at) => isMiddle(at) || atOnce(() => brokenAt(at))))
})

for (const [what, fate] of [
  ['refuses', { status: 500, code: 'InternalError' }],
  ['does, and does not answer,', 'lost']
] as [string, Fate][])
  test(`copy-storage, to a bucket: whichever request the service ${what} the target has no dangling link, and the next run resumes`, async t => {
    const server = await startS3(t)
    if (!server) return
    const { from, ...scene } = await fromDisk(t, server)
    const without = async (kind: string) => {
      const to = await place(t, server)
      to.proxy.fate = (method, path) => (kindOf(method, path) === kind ? fate : 'pass')
      // The remaining parts are found the next time.
      t.equal(await fails(copy(from, to.storage)), !/^DELETE/.test(kind), kind)
      await expectResumed(t, scene, from, to, kind)
    }
    const kinds = await kindsOf(await place(t, server), target => copy(from, target))
    // A multipart upload whose id was never received is left to the driver's sweep and the bucket's lifecycle rule.
    const tried = kinds.filter(kind => fate !== 'lost' || /^(PUT|DELETE|POST .*uploadId=)/.test(kind))
    await Promise.all(tried.map(kind => atOnce(() => without(kind))))
  })

test('copy-storage, from a bucket: whichever request the service does not answer, the target has no dangling link, and the next run resumes', async t => {
  const server = await startS3(t)
  if (!server) return
  const origin = makeBucket(server)
  await fill(await openS3(t, server, { bucket: origin }))
  const scene = { server, owner: ownerOf(t, server), whole: kept(join(server.root, origin)) }
  const without = async (kind: string) => {
    const [from, to] = [await place(t, server, origin), await place(t, server)]
    from.proxy.fate = (method, path) => (kindOf(method, path) === kind ? 'lost' : 'pass')
    t.ok(await fails(copy(from.storage, to.storage)), kind)
    from.proxy.fate = () => 'pass'
    await expectResumed(t, scene, from.storage, to, kind)
  }
  const to = (await place(t, server)).storage
  const kinds = await kindsOf(await place(t, server, origin), from => copy(from, to))
  await Promise.all(kinds.map(kind => atOnce(() => without(kind))))
})
