import { type Test, test } from 'tap'
import { Wire } from '../src/api/wire.ts'
import { ask, bytesOf, codeOf, digestOf, imageType, pushBlob, pushImage, type Served, serve } from '../src/support.ts'
import { proxyS3, type S3Proxy } from '../support/s3-proxy.ts'
import { makeBucket, type S3Server, s3Options, startS3 } from '../support/s3-server.ts'

/** A registry over a bucket of `server`. */
async function serveS3(
  t: Test,
  server: S3Server,
  bucket: string,
  { redirect = 'off', metadataTTL = '1h' }: { redirect?: unknown; metadataTTL?: string } = {}
): Promise<Served> {
  const { region, endpoint, forcePathStyle, credentials, spool } = await s3Options(t, server, { bucket })
  const s3 = { bucket, region, endpoint, forcePathStyle, credentials, spool, spoolBytes: '256MiB', partBytes: '5MiB', redirect }
  return serve(t, { storage: { s3 }, cache: { metadataTTL } })
}

/** The requests to the service while `task` runs. */
async function requestsOf(proxy: S3Proxy, task: () => Promise<unknown>): Promise<string[]> {
  const before = proxy.requests.length
  await task()
  return proxy.requests.slice(before)
}

const mebibyte = 1024 * 1024

test('a registry over a bucket', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('S3: with warm caches a pull costs one request at most, and a redirected blob none', async t => {
    const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
    const served = await serveS3(t, proxy, bucket)
    const bytes = bytesOf(3 * mebibyte)
    const blob = await pushBlob(served, 'a', bytes)
    const { digest } = await pushImage(served, 'a', 'v1')
    const get = (path: string, method = 'GET') => ask(served.listen, method, `/v2/a/${path}`, { headers: { accept: imageType } })
    for (const [method, path, most] of [
      ['GET', `blobs/${blob}`, 1],
      ['HEAD', `blobs/${blob}`, 1],
      ['GET', `manifests/${digest}`, 0],
      ['HEAD', `manifests/${digest}`, 0],
      ['GET', 'manifests/v1', 0]
    ] as const) {
      t.equal((await get(path, method)).status, 200)
      const requests = await requestsOf(proxy, () => get(path, method))
      t.ok(requests.length <= most, `${method} ${path}: ${requests}`)
    }
    const redirecting = await serveS3(t, proxy, bucket, { redirect: { over: '1MiB' } })
    await ask(redirecting.listen, 'GET', `/v2/a/manifests/v1`, { headers: { accept: imageType } })
    for (const method of ['GET', 'HEAD']) await ask(redirecting.listen, method, `/v2/a/blobs/${blob}`)
    let location = ''
    const requests = await requestsOf(proxy, async () => {
      const { status, headers } = await ask(redirecting.listen, 'HEAD', `/v2/a/blobs/${blob}`)
      t.equal(status, 200, 'a head is answered here')
      t.equal(headers['content-length'], String(bytes.length))
    })
    t.ok(requests.length <= 1)
    const always = await serveS3(t, proxy, bucket, { redirect: 'always' })
    await ask(always.listen, 'GET', `/v2/a/blobs/${blob}`)
    const none = await requestsOf(proxy, async () => {
      const { status, headers } = await ask(always.listen, 'GET', `/v2/a/blobs/${blob}`)
      t.equal(status, 307)
      location = headers.location ?? ''
    })
    t.strictSame(none, [])
    t.ok(Buffer.from(await (await fetch(location)).arrayBuffer()).equals(bytes))
    t.equal(
      (await ask(always.listen, 'GET', `/v2/a/manifests/v1`, { headers: { accept: imageType } })).status,
      200,
      'a manifest is not redirected'
    )
  })

  await t.test('S3: a pushed blob costs six requests, and pulling a pushed image one for each blob', async t => {
    const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
    const served = await serveS3(t, proxy, bucket)
    await pushBlob(served, 'a', bytesOf(10))
    const digests: string[] = []
    const requests = await requestsOf(proxy, async () => {
      digests.push(await pushBlob(served, 'a', bytesOf(mebibyte)))
    })
    t.equal(requests.length, 6, `${requests}`)
    t.strictSame(
      (
        await requestsOf(proxy, async () =>
          digests.push(...(await Promise.all([1, 2, 3, 4].map(size => pushBlob(served, 'a', bytesOf(size))))))
        )
      ).length,
      24,
      'side by side as well'
    )
    await ask(served.listen, 'GET', `/v2/a/blobs/${digests[0]}`)
    const pulled = await requestsOf(proxy, async () => {
      for (const digest of digests) t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 200)
    })
    t.equal(pulled.length, digests.length, `${pulled}`)
  })

  await t.test('S3: clients that pull the same blob at the same time share requests', async t => {
    const proxy = await proxyS3(t, server)
    const served = await serveS3(t, proxy, makeBucket(server))
    const bytes = bytesOf(24 * mebibyte)
    const digest = await pushBlob(served, 'a', bytes)
    const requests = await requestsOf(proxy, async () => {
      const answers = await Promise.all(Array.from({ length: 16 }, () => ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)))
      t.ok(answers.every(({ body }) => body.equals(bytes)))
    })
    // Three to five: a client that falls behind makes a request of its own.
    t.ok(requests.length < 16, `${requests.length} requests`)
  })

  await t.test('S3: an upload whose requests alternate between two registries is one blob', async t => {
    const bucket = makeBucket(server)
    const both = [await serveS3(t, server, bucket), await serveS3(t, server, bucket)] as const
    const bytes = bytesOf(13 * mebibyte)
    const digest = digestOf(bytes)
    let turn = 0
    const next = () => both[++turn % 2 === 0 ? 0 : 1].listen
    let { headers } = await ask(next(), 'POST', '/v2/a/blobs/uploads/')
    let at = 0
    for (const size of [100_000, 6 * mebibyte, 1, 2 * mebibyte]) {
      const range = { 'content-range': `${at}-${at + size - 1}` }
      const answer = await ask(next(), 'PATCH', headers.location ?? '', { body: bytes.subarray(at, at + size), headers: range })
      t.equal(answer.status, 202)
      ;({ headers } = answer)
      at += size
      const { headers: stands } = await ask(next(), 'GET', headers.location ?? '')
      t.equal(stands['upload-offset'], String(at))
    }
    const wrong = await ask(next(), 'PATCH', headers.location ?? '', { body: 'x', headers: { 'content-range': '5-5' } })
    t.equal(wrong.status, 416)
    t.equal((await ask(next(), 'PUT', `${headers.location}?digest=${digest}`, { body: bytes.subarray(at) })).status, 201)
    for (const { listen } of both) {
      t.ok((await ask(listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
      t.equal((await ask(listen, 'GET', headers.location ?? '')).status, 404, 'the session is over for both')
    }
  })

  await t.test('S3: bytes that another process changed are not taken for those of the running digest', async t => {
    const bucket = makeBucket(server)
    const both = [await serveS3(t, server, bucket), await serveS3(t, server, bucket)] as const
    const { headers } = await ask(both[0].listen, 'POST', '/v2/a/blobs/uploads/')
    const session = headers.location ?? ''
    await ask(both[0].listen, 'PATCH', session, { body: 'the first bytes ' })
    await ask(both[1].listen, 'PATCH', session, { body: 'and more' })
    const wrong = await ask(both[0].listen, 'PUT', `${session}?digest=${digestOf('the first bytes ')}`)
    t.equal(codeOf(wrong), 'DIGEST_INVALID')
  })

  await t.test('S3: a push or a deletion by one registry is known to the other at once, or after cache.metadataTTL', async t => {
    const bucket = makeBucket(server)
    const [one, other] = [await serveS3(t, server, bucket), await serveS3(t, server, bucket, { metadataTTL: '0s' })]
    const { digest } = await pushImage(one, 'a', 'v1')
    const read = () => ask(other.listen, 'GET', '/v2/a/manifests/v1')
    t.equal((await read()).headers['docker-content-digest'], digest)
    const second = await pushImage(one, 'a', 'v1')
    t.equal((await read()).headers['docker-content-digest'], second.digest)
    t.equal((await ask(one.listen, 'DELETE', '/v2/a/manifests/v1')).status, 202)
    t.equal((await read()).status, 404)
    t.equal((await ask(one.listen, 'DELETE', `/v2/a/manifests/${digest}`)).status, 202)
    t.equal((await ask(other.listen, 'GET', `/v2/a/manifests/${digest}`)).status, 404)
  })

  await t.test(
    'S3: while the service does not respond requests are refused with Retry-After, and the registry recovers by itself',
    async t => {
      const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
      const served = await serveS3(t, proxy, bucket)
      const blob = await pushBlob(served, 'a', bytesOf(100))
      for (const [status, code] of [
        [403, 'AccessDenied'],
        [404, 'NoSuchBucket'],
        [400, 'ExpiredToken']
      ] as const) {
        proxy.fate = () => ({ status, code })
        for (const method of ['GET', 'HEAD']) {
          const { status, headers } = await ask(served.listen, method, `/v2/a/blobs/${blob}`)
          t.equal(status, 503, `${method} ${code}`)
          t.ok(headers['retry-after'])
        }
        t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 503)
        const ready = await ask(served.admin, 'GET', '/readyz')
        t.equal(ready.status, 503)
        t.match(ready.body.toString(), code)
        proxy.fate = () => 'pass'
        t.equal((await ask(served.admin, 'GET', '/readyz')).status, 200)
        t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${blob}`)).status, 200)
      }
    }
  )

  await t.test('S3: a registry starts without the service, and serves once it responds', async t => {
    const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
    proxy.fate = () => ({ status: 503, code: 'SlowDown' })
    const served = await serveS3(t, proxy, bucket)
    t.equal((await ask(served.admin, 'GET', '/readyz')).status, 503)
    proxy.fate = () => 'pass'
    t.equal((await ask(served.admin, 'GET', '/readyz')).status, 200)
    const blob = await pushBlob(served, 'a', bytesOf(100))
    t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${blob}`)).status, 200)
  })

  await t.test('S3: a missing bucket ends the start with a message that says what to do', async t => {
    await t.rejects(serveS3(t, server, 'no-such-bucket'), {
      name: 'UnusableError',
      message: /no-such-bucket.*create it, or correct storage\.s3\.bucket/
    })
  })

  await t.test('S3: 60 clients that do not read do not block the requests of others', async t => {
    const served = await serveS3(t, server, makeBucket(server))
    const bytes = bytesOf(24 * mebibyte)
    const large = await pushBlob(served, 'a', bytes)
    const small = await pushBlob(served, 'a', bytesOf(1000))
    for (let client = 0; client < 60; client++) {
      const wire = await Wire.dial(t, served.listen)
      wire.socket.pause()
      wire.head(`GET /v2/a/blobs/${large}`, [])
    }
    t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${small}`)).status, 200)
    t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${large}`)).body.equals(bytes))
    t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 202)
  })
})
