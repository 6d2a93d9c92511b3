import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import {
  type Answer,
  ask,
  bytesOf,
  digestOf,
  imageType,
  pushBlob,
  pushImage,
  reasonOf,
  type Served,
  serve,
  startSession,
  until
} from '../src/support.ts'
import { temporaryDirectory } from '../support/place.ts'
import { type Fate, proxyS3 } from '../support/s3-proxy.ts'
import { credentialsFile, makeBucket, type S3Server, s3Settings, startS3 } from '../support/s3-server.ts'
import { withoutToken } from '../support/s3-sign.ts'

const mebibyte = 1024 * 1024
const unavailable = { status: 503, reason: "the registry's storage does not answer" }

/** A registry over a bucket of `server`. */
async function serveS3(t: Test, server: S3Server, bucket: string, more: Record<string, unknown> = {}): Promise<Served> {
  const s3 = { ...s3Settings(server, bucket, await temporaryDirectory(t)), ...more }
  return serve(t, { storage: { s3 }, cache: { metadataTTL: '1h' } })
}

const pull = ({ listen }: Served, digest: string) => ask(listen, 'GET', `/v2/a/blobs/${digest}`)
const ready = async ({ admin }: Served) => (await ask(admin, 'GET', '/readyz')).status

function isUnavailable(t: Test, answer: Answer, what: string): void {
  t.match({ status: answer.status, reason: reasonOf(answer) }, unavailable, what)
  t.ok(Number(answer.headers['retry-after']) > 0, `${what}: Retry-After`)
}

/** Pushes a blob through a session, by a request with its digest or by one before that. */
async function pushInSession(served: Served, bytes: Uint8Array, by: 'one' | 'two'): Promise<Answer> {
  const session = await startSession(served, 'a')
  const end = `?digest=${digestOf(bytes)}`
  if (by === 'one') return ask(served.listen, 'PUT', session + end, { body: bytes })
  const answer = await ask(served.listen, 'PATCH', session, { body: bytes })
  return answer.status === 202 ? ask(served.listen, 'PUT', (answer.headers.location ?? '') + end) : answer
}

function blobsIn(server: S3Server, bucket: string): string[] {
  try {
    return readdirSync(join(server.root, bucket, 'docker/registry/v2/blobs'), { recursive: true, encoding: 'utf8' }).filter(path =>
      path.endsWith('/data')
    )
  } catch {
    return []
  }
}

test('a bucket whose service fails', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('S3: lasting SlowDown becomes 503 with Retry-After for pulls, pushes and lists alike', async t => {
    const proxy = await proxyS3(t, server)
    const served = await serveS3(t, proxy, makeBucket(server))
    const blob = await pushBlob(served, 'a', bytesOf(100))
    const { digest } = await pushImage(served, 'a', 'v1')
    proxy.fate = () => ({ status: 503, code: 'SlowDown' })
    const requests = [
      ['GET', `/v2/a/blobs/${blob}`],
      ['POST', '/v2/a/blobs/uploads/'],
      ['POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, 'x'],
      [
        'PUT',
        '/v2/a/manifests/v2',
        JSON.stringify({ schemaVersion: 2, mediaType: imageType, config: { mediaType: 'a/b', digest: blob, size: 100 }, layers: [] })
      ],
      ['DELETE', `/v2/a/manifests/${digest}`],
      ['GET', '/v2/a/tags/list'],
      ['GET', '/v2/_catalog']
    ] as const
    const probe = ready(served)
    await Promise.all(
      requests.map(async ([method, path, body]) => {
        const headers = method === 'PUT' ? { 'content-type': imageType } : {}
        isUnavailable(t, await ask(served.listen, method, path, { headers, ...(body === undefined ? {} : { body }) }), `${method} ${path}`)
      })
    )
    t.equal(await probe, 503)
    proxy.fate = () => 'pass'
    t.equal(await ready(served), 200)
    t.equal((await pull(served, blob)).status, 200)
    t.equal((await ask(served.listen, 'GET', `/v2/a/manifests/${digest}`, { headers: { accept: imageType } })).status, 200)
    t.equal((await pushInSession(served, bytesOf(100), 'one')).status, 201)
  })

  await t.test('S3: clients do not notice truncated bodies of blobs, links and lists', async t => {
    const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
    const pusher = await serveS3(t, server, bucket)
    const bytes = bytesOf(3 * mebibyte)
    const blob = await pushBlob(pusher, 'a', bytes)
    const { manifest } = await pushImage(pusher, 'a', 'v1')
    // Its caches are empty, so that it reads everything.
    const served = await serveS3(t, proxy, bucket)
    const seen = new Map<string, number>()
    proxy.fate = (method, path): Fate => {
      const times = (seen.get(path) ?? 0) + 1
      seen.set(path, times)
      return method === 'GET' && times === 1 ? { cutAfter: 20 } : 'pass'
    }
    t.ok((await pull(served, blob)).body.equals(bytes))
    t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1', { headers: { accept: imageType } })).body.toString(), manifest)
    t.strictSame(JSON.parse((await ask(served.listen, 'GET', '/v2/a/tags/list')).body.toString()).tags, ['v1'])
    t.strictSame(JSON.parse((await ask(served.listen, 'GET', '/v2/_catalog')).body.toString()).repositories, ['a'])
  })

  await t.test('S3: with 10 s for each response /readyz is 503 and pulls are slow and whole, and it recovers by itself', async t => {
    const proxy = await proxyS3(t, server)
    const served = await serveS3(t, proxy, makeBucket(server))
    const bytes = bytesOf(1000)
    const blob = await pushBlob(served, 'a', bytes)
    t.equal((await pull(served, blob)).status, 200)
    proxy.fate = () => ({ after: delay(10_000) })
    const [answer, probe] = await Promise.all([pull(served, blob), ready(served)])
    t.equal(answer.status, 200)
    t.ok(answer.body.equals(bytes))
    t.equal(probe, 503)
    proxy.fate = () => 'pass'
    t.equal(await ready(served), 200)
    t.ok((await pull(served, blob)).body.equals(bytes))
  })

  const part = (method: string, path: string) => method === 'PUT' && /partNumber=/.test(path)
  const end = (method: string, path: string) => method === 'POST' && /uploadId=/.test(path)
  for (const [what, by, fails] of [
    ['a part of a session', 'two', (method: string, path: string) => method === 'PUT' && /\/parts\//.test(decodeURIComponent(path))],
    ['a part of the object', 'one', part],
    ['a part of the object', 'two', part],
    ['the beginning of a multipart upload', 'one', (method: string, path: string) => method === 'POST' && /\?uploads/.test(path)],
    ['the end of a multipart upload', 'one', end],
    ['the end of a multipart upload', 'two', end]
  ] as const) {
    await t.test(
      `S3: while ${what} keeps failing a push by ${by} is refused, nothing of it is visible, and the same push succeeds later`,
      async t => {
        const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
        const served = await serveS3(t, proxy, bucket)
        const bytes = randomBytes(12 * mebibyte)
        let failed = 0
        proxy.fate = (method, path) => {
          if (!fails(method, path)) return 'pass'
          failed++
          return { status: 500, code: 'InternalError' }
        }
        isUnavailable(t, await pushInSession(served, bytes, by), what)
        t.ok(failed >= 4, 'it was retried')
        for (const method of ['GET', 'HEAD']) t.equal((await ask(served.listen, method, `/v2/a/blobs/${digestOf(bytes)}`)).status, 404)
        t.strictSame(blobsIn(server, bucket), [])
        proxy.fate = () => 'pass'
        t.equal((await pushInSession(served, bytes, by)).status, 201)
        t.ok((await pull(served, digestOf(bytes))).body.equals(bytes))
      }
    )
  }

  await t.test(
    'S3: a bucket that is deleted while it is served is an error, not missing content, and is used again once it is created',
    async t => {
      const bucket = makeBucket(server)
      const served = await serveS3(t, server, bucket)
      const bytes = bytesOf(1000)
      const blob = await pushBlob(served, 'a', bytes)
      rmSync(join(server.root, bucket), { recursive: true })
      for (const [method, path] of [
        ['GET', `/v2/a/blobs/${blob}`],
        ['GET', '/v2/b/manifests/v1'],
        ['GET', '/v2/a/tags/list'],
        ['POST', '/v2/a/blobs/uploads/']
      ] as const)
        isUnavailable(t, await ask(served.listen, method, path), `${method} ${path}`)
      const { status, body } = await ask(served.admin, 'GET', '/readyz')
      t.equal(status, 503)
      t.match(body.toString(), /NoSuchBucket/)
      await mkdir(join(server.root, bucket))
      t.equal(await ready(served), 200)
      t.equal((await ask(served.listen, 'GET', '/v2/b/manifests/v1')).status, 404)
      await pushBlob(served, 'a', bytes)
      t.ok((await pull(served, blob)).body.equals(bytes))
    }
  )
})

// Both wait until the file is read again.
test('credentials that are replaced in their file', { jobs: 2 }, async t => {
  t.test('S3: after keys were revoked the registry continues with those that replace them in the file', { buffered: true }, async t => {
    const server = await startS3(t)
    if (!server) return
    const file = join(await temporaryDirectory(t), 'credentials')
    await writeFile(file, credentialsFile(server.credentials))
    const served = await serveS3(t, server, makeBucket(server), { credentials: { file } })
    const blob = await pushBlob(served, 'a', bytesOf(100))
    await server.kill()
    server.credentials = { accessKeyId: 'renewed', secretAccessKey: 'renewed-secret' }
    await server.start()
    isUnavailable(t, await pull(served, blob), 'with the old keys')
    t.equal(await ready(served), 503)
    await writeFile(file, credentialsFile(server.credentials))
    await until(async () => (await ready(served)) === 200)
    t.equal((await pull(served, blob)).status, 200)
    t.equal((await pushInSession(served, bytesOf(100), 'one')).status, 201)
  })

  t.test(
    'S3: after a session token has expired the registry continues with the one that replaces it in the file',
    { buffered: true },
    async t => {
      const server = await startS3(t)
      if (!server) return
      const file = join(await temporaryDirectory(t), 'credentials')
      await writeFile(file, credentialsFile(server.credentials, 'first'))
      const proxy = await proxyS3(t, server)
      const [valid, seen] = [new Set(['first']), new Set<string>()]
      // As AWS answers.
      proxy.fate = (_method, _path, headers) => {
        const token = String(headers['x-amz-security-token'])
        seen.add(token)
        return valid.has(token) ? 'pass' : { status: 400, code: 'ExpiredToken' }
      }
      proxy.forwarded = (method, path, headers) => withoutToken(method, path, headers, server.credentials)
      const served = await serveS3(t, proxy, makeBucket(server), { credentials: { file } })
      const blob = await pushBlob(served, 'a', bytesOf(100))
      valid.delete('first')
      isUnavailable(t, await pull(served, blob), 'a pull with the old token')
      isUnavailable(t, await ask(served.listen, 'POST', '/v2/a/blobs/uploads/'), 'a push with the old token')
      const { status, body } = await ask(served.admin, 'GET', '/readyz')
      t.equal(status, 503)
      t.match(body.toString(), /ExpiredToken \(400\): the credentials have expired: new ones are taken as soon as they are there/)
      t.strictSame([...seen], ['first'])
      valid.add('second')
      await writeFile(file, credentialsFile(server.credentials, 'second'))
      await until(async () => (await ready(served)) === 200)
      seen.clear()
      t.equal((await pull(served, blob)).status, 200)
      t.equal((await pushInSession(served, bytesOf(6 * mebibyte), 'one')).status, 201)
      t.strictSame([...seen], ['second'])
    }
  )
})
