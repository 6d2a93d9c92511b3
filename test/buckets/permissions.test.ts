import { readdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { CreateMultipartUploadCommand } from '@aws-sdk/client-s3'
import { type Test, test } from 'tap'
import { streamControl } from '../../src/ports/control-client.ts'
import {
  ask,
  bytesOf,
  dataPath,
  digestOf,
  imageType,
  layerPath,
  pushBlob,
  pushImage,
  type Served,
  serve,
  startSession,
  until
} from '../src/support.ts'
import { temporaryDirectory } from '../support/place.ts'
import { allow, asUser, bucketFor, multipartUploads, ownerOf, s3Settings, startS3 } from '../support/s3-server.ts'

const mebibyte = 1024 * 1024

/** A registry whose user lacks a permission. */
async function scene(t: Test, without?: string) {
  const server = await startS3(t, { real: 'permissions of users' })
  if (!server) return undefined
  const [owner, user] = [ownerOf(t, server), await asUser(server)]
  const bucket = await bucketFor(owner, user, without)
  const root = join(server.root, bucket)
  await owner.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: 'docker/left' }))
  ageUploads(root)
  const served = await serve(t, { storage: { s3: s3Settings(user, bucket, await temporaryDirectory(t)) } })
  const request = async (method: string, path: string, body?: Uint8Array) =>
    (await ask(served.listen, method, `/v2/${path}`, { headers: { accept: imageType }, ...(body ? { body } : {}) })).status
  return {
    served,
    root,
    request,
    lose: (action: string) => allow(owner, user, bucket, action),
    left: () => multipartUploads(owner, bucket)
  }
}

/** Makes uploads old enough to be aborted. */
function ageUploads(root: string): void {
  const folder = join(root, '.sgwtmp/multipart')
  for (const each of readdirSync(folder)) for (const upload of readdirSync(join(folder, each))) utimesSync(join(folder, each, upload), 1, 1)
}

async function collect({ config }: Served): Promise<{ type: string }[]> {
  const call = { method: 'POST', path: '/upkeep/gc', body: { dryRun: false }, idleTimeoutMs: 0 } as const
  return (await Array.fromAsync(streamControl(config.server.control, call))) as { type: string }[]
}

/** Pushes by every kind of upload, and an unreferenced blob. */
async function fill(served: Served, root: string) {
  const image = await pushImage(served, 'a', 'v1')
  const large = bytesOf(11 * mebibyte)
  const session = await startSession(served, 'a')
  const { headers, status } = await ask(served.listen, 'PATCH', session, { body: large.subarray(0, 6 * mebibyte) })
  const put = `${headers.location}?digest=${digestOf(large)}`
  const done = await ask(served.listen, 'PUT', put, { body: large.subarray(6 * mebibyte) })
  const unreferenced = await pushBlob(served, 'a', bytesOf(100))
  for (const path of [dataPath(root, unreferenced), layerPath(root, 'a', unreferenced)]) utimesSync(path, 1, 1)
  return { image, large, unreferenced, statuses: [status, done.status] }
}

test('what a registry may do in its bucket', { jobs: 3 }, async t => {
  t.test('S3: with what docs/s3.md lists, and nothing else, a registry does everything', { buffered: true }, async t => {
    const made = await scene(t)
    if (!made) return
    const { served, root, request, left } = made
    const { image, large, unreferenced, statuses } = await fill(served, root)
    t.strictSame(statuses, [202, 201])
    await until(async () => (await left()).length === 0)
    const blob = `a/blobs/${digestOf(large)}`
    utimesSync(dataPath(root, digestOf(large)), 1, 1)
    t.equal(await request('HEAD', blob), 200)
    t.ok((await ask(served.listen, 'GET', `/v2/${blob}`)).body.equals(large))
    t.equal(await request('POST', `b/blobs/uploads/?mount=${digestOf(large)}&from=a`), 201)
    const events = await collect(served)
    t.match(
      events.filter(each => each.type === 'remove'),
      [
        { kind: 'link', digest: unreferenced },
        { kind: 'blob', digest: unreferenced }
      ]
    )
    t.match(events.at(-1), { type: 'done' })
    t.equal(await request('DELETE', `a/manifests/${image.digest}`), 202)
    t.equal(await request('DELETE', blob), 202)
    t.equal(await request('GET', blob), 404)
    t.equal(await request('GET', 'a/manifests/v1'), 404)
  })

  t.test(
    'S3: once it may no longer remove, pulls go on, and a failed removal is reported and removes nothing',
    { buffered: true },
    async t => {
      const made = await scene(t)
      if (!made) return
      const { served, root, request, lose } = made
      const { image, large, unreferenced } = await fill(served, root)
      await lose('DeleteObject')
      t.equal(await request('DELETE', `a/manifests/${image.digest}`), 503)
      t.equal(await request('DELETE', 'a/manifests/v1'), 503)
      t.equal(await request('DELETE', `a/blobs/${unreferenced}`), 503)
      const last = (await collect(served)).at(-1)
      t.match(last, { type: 'failed', message: /AccessDenied.*compare them with docs\/s3\.md/ })
      for (const digest of [digestOf(large), unreferenced, image.config]) t.equal(await request('GET', `a/blobs/${digest}`), 200)
      for (const reference of ['v1', image.digest]) t.equal(await request('GET', `a/manifests/${reference}`), 200)
    }
  )

  for (const action of ['AbortMultipartUpload', 'ListBucketMultipartUploads'])
    t.test(`S3: without ${action} everything works, but multipart uploads of processes that died stay`, { buffered: true }, async t => {
      const made = await scene(t, action)
      if (!made) return
      const { served, root, request, left } = made
      const { image, large, unreferenced, statuses } = await fill(served, root)
      t.strictSame(statuses, [202, 201])
      t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digestOf(large)}`)).body.equals(large))
      t.equal(await request('DELETE', `a/manifests/${image.digest}`), 202)
      t.equal(await request('DELETE', `a/blobs/${unreferenced}`), 202)
      t.strictSame(await left(), ['docker/left'])
    })
})
