import { randomBytes } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { parseCredentials } from '../../../storage/s3/credentials.ts'
import type { S3Storage } from '../../../storage/s3/s3.ts'
import type { StagedWriter, Storage, Writer } from '../../../storage/storage.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { proxyS3 } from '../../support/s3-proxy.ts'
import { asUser, bucketFor, makeBucket, multipartUploads, openS3, ownerOf, type S3Server, startS3 } from '../../support/s3-server.ts'
import { keysBelow, walked } from '../../support/storage.ts'
import { storageContract } from '../contract.ts'

const mebibyte = 1024 * 1024
// With parts of 5 MiB: two whole ones and one that is short.
const large = randomBytes(12 * mebibyte + 12_345)

async function writeAll(writer: Writer, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; at += 700_000) await writer.write([bytes.subarray(at, at + 700_000)])
}

async function bytesAt(storage: Storage, key: string): Promise<Buffer | undefined> {
  const object = await storage.open(key)
  if (!object) return undefined
  const bytes = Buffer.alloc(object.size)
  let at = 0
  for (let read = -1; read !== 0; at += read) read = await object.readInto(bytes.subarray(at), at)
  await object.close()
  return bytes.subarray(0, at)
}

/** A bucket and the storages of two processes in it. */
async function two(
  t: Test,
  server: S3Server
): Promise<{ bucket: string; one: S3Storage; other: S3Storage; left: () => Promise<string[]> }> {
  const bucket = makeBucket(server)
  const [one, other] = [await openS3(t, server, { bucket }), await openS3(t, server, { bucket })]
  const left = async () =>
    (await readdir(join(server.root, bucket), { recursive: true, withFileTypes: true }))
      .filter(entry => entry.isFile())
      .map(entry => entry.name)
      .filter(name => name !== 'trial')
  return { bucket, one, other, left }
}

test('a bucket keeps the contract of storage, for a user who may do what docs/s3.md lists', async t => {
  const server = await startS3(t)
  if (!server) return
  const [owner, user] = [ownerOf(t, server), await asUser(server)]
  const open = async (t: Test) => openS3(t, user, { bucket: await bucketFor(owner, user) })
  await storageContract(t, { name: 's3', open, timeStepMs: 1_100 })
})

test('s3', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('s3: a large object is written in parts, which are removed afterwards', async t => {
    const { one, left } = await two(t, server)
    const writer = await one.create('up/data')
    await writeAll(writer, large)
    await writer.publish('blobs/a')
    t.ok((await bytesAt(one, 'blobs/a'))?.equals(large))
    t.strictSame(await left(), ['a'])
  })

  await t.test('s3: a large staged object is visible only when it is published', async t => {
    const { one, other, left } = await two(t, server)
    const staged = await one.stage('blobs/a', large.length)
    await writeAll(staged, large)
    t.equal(await other.stat('blobs/a'), undefined)
    await staged.publish('blobs/a')
    await staged.reader.close()
    t.ok((await bytesAt(other, 'blobs/a'))?.equals(large))
    t.strictSame(await left(), ['a'])
  })

  await t.test('s3: a staged object that is discarded leaves nothing', async t => {
    const { one, left } = await two(t, server)
    const staged = await one.stage('blobs/a')
    await writeAll(staged, large)
    await staged.discard()
    await staged.reader.close()
    t.strictSame(await left(), [])
  })

  await t.test('s3: an object whose key is known is sent straight to it, and is visible only when it is published', async t => {
    const proxy = await proxyS3(t, server)
    const { bucket, other, left } = await two(t, server)
    const one = await openS3(t, proxy, { bucket })
    const writer = await one.create('up/data', { earlier: 'nothing', publishTo: 'blobs/a' })
    await writeAll(writer, large)
    t.equal(await other.stat('blobs/a'), undefined)
    await writer.publish('blobs/a')
    t.ok((await bytesAt(other, 'blobs/a'))?.equals(large))
    t.strictSame(await left(), ['a'])
    t.notOk(
      proxy.requests.some(each => /parts|copy/i.test(each)),
      'no byte goes twice'
    )
    for (const end of ['discard', 'close', 'truncate'] as const) {
      const broken = await one.create('up/data', { earlier: 'nothing', publishTo: 'blobs/b' })
      await writeAll(broken, large)
      if (end === 'truncate') await broken.truncate(0)
      else await broken[end]()
      t.strictSame(await left(), ['a'], `${end}: nothing is left`)
      if (end !== 'truncate') continue
      await writeAll(broken, large.subarray(1))
      await broken.publish('blobs/b')
      t.ok((await bytesAt(other, 'blobs/b'))?.equals(large.subarray(1)), 'it can begin anew')
    }
  })

  await t.test('s3: discarding waits for the parts that are being sent, then removes everything', async t => {
    const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
    const storage = await openS3(t, proxy, { bucket })
    for (const make of [() => storage.stage('blobs/a'), () => storage.create('up/data')] as (() => Promise<Writer | StagedWriter>)[]) {
      const [came, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      proxy.fate = (method, path) => {
        if (method !== 'PUT' || !/partNumber|parts/.test(path)) return 'pass'
        came.resolve()
        return { after: go.promise }
      }
      const writer = await make()
      await writer.write([large.subarray(0, 6 * mebibyte)])
      await came.promise
      const seen = proxy.requests.length
      const discarded = writer.discard()
      await Promise.race([discarded, delay(200)])
      t.notOk(proxy.requests.slice(seen).some(each => /^(DELETE|POST .*delete)/.test(each)))
      go.resolve()
      await discarded
      if ('reader' in writer) await writer.reader.close()
      t.strictSame(await keysBelow(storage, 'up'), [])
    }
    t.strictSame(await multipartUploads(ownerOf(t, server), bucket), [])
  })

  await t.test('s3: two processes write an object in turn, in chunks of any size', async t => {
    const { one, other, left } = await two(t, server)
    let at = 0
    for (const [turn, size] of [1, 70_000, 3 * mebibyte, 6 * mebibyte, 10, 400_000, large.length].entries()) {
      const storage = turn % 2 === 0 ? one : other
      const writer = (await storage.resume('up/data')) ?? (await storage.create('up/data'))
      t.equal(writer.offset, at)
      const chunk = large.subarray(at, at + size)
      await writeAll(writer, chunk)
      await writer.close()
      at += chunk.length
      t.match(await (turn % 2 === 0 ? other : one).statUnfinished('up/data'), { size: at })
    }
    const last = await other.resume('up/data')
    await last?.publish('blobs/a')
    t.ok((await bytesAt(one, 'blobs/a'))?.equals(large))
    t.strictSame(await left(), ['a'])
  })

  await t.test('s3: a writer publishes the parts that it has listed, whatever another process does to them', async t => {
    const { one, other } = await two(t, server)
    const writer = await one.create('up/data')
    await writer.write([Buffer.from('the bytes')])
    await writer.close()
    const [mine, theirs] = [await one.resume('up/data'), await other.resume('up/data')]
    const seal = mine?.fingerprint(9)
    await theirs?.truncate(0)
    await theirs?.write([Buffer.from('others!!!')])
    await theirs?.close()
    t.not((await one.resume('up/data'))?.fingerprint(9), seal)
    await t.rejects(mine?.publish('blobs/a') ?? Promise.resolve())
    t.equal(await one.stat('blobs/a'), undefined)
  })

  await t.test('s3: a request that gets no response is made once, one that fails several times', async t => {
    const proxy = await proxyS3(t, server)
    const timeouts = { connectMs: 5_000, responseMs: 300, bodyIdleMs: 300, copyMs: 5_000, retryWindowMs: 200, uploadRetryWindowMs: 5_000 }
    const storage = await openS3(t, proxy, { timeouts })
    await storage.put('a', Buffer.from('the bytes'))
    for (const [fate, tries] of [
      [{ after: new Promise(() => {}) }, 1],
      [{ status: 500, code: 'InternalError' }, 2]
    ] as const) {
      proxy.fate = () => fate
      for (const request of [
        () => storage.open('a'),
        () => storage.get('a'),
        () => storage.put('b', Buffer.from('b'))
      ] as (() => Promise<unknown>)[]) {
        const before = proxy.requests.length
        await t.rejects(
          request().then(() => {}),
          { code: 'ESTALLED', permanent: false }
        )
        const made = proxy.requests.length - before
        t.ok(tries === 1 ? made === 1 : made >= tries, `${made} requests`)
      }
    }
    proxy.fate = () => 'pass'
    t.equal((await storage.get('a'))?.toString(), 'the bytes')
  })

  await t.test('s3: a body that stalls is requested once more, then the read fails', async t => {
    const proxy = await proxyS3(t, server)
    const timeouts = { connectMs: 5_000, responseMs: 300, bodyIdleMs: 300, copyMs: 5_000, retryWindowMs: 200, uploadRetryWindowMs: 5_000 }
    const bucket = makeBucket(server)
    await (await openS3(t, server, { bucket })).put('a', large)
    const storage = await openS3(t, proxy, { bucket, timeouts })
    const gets = () => proxy.requests.filter(each => /^GET \/[^/]+\/a\b/.test(each)).length
    proxy.fate = () => (gets() === 1 ? { restAfter: 100_000 } : { after: new Promise(() => {}) })
    const object = await storage.open('a')
    const into = Buffer.alloc(large.length)
    let at = 0
    const reading = async () => {
      for (let read = -1; read !== 0; at += read) read = (await object?.readInto(into.subarray(at), at)) ?? 0
    }
    await t.rejects(reading(), { code: 'ESTALLED' })
    t.ok(at >= 100_000 && into.subarray(0, at).equals(large.subarray(0, at)), `${at} bytes`)
    t.equal(gets(), 2)
    await object?.close()
  })

  await t.test('s3: a truncated body is continued where it broke', async t => {
    const proxy = await proxyS3(t, server)
    const storage = await openS3(t, proxy)
    const writer = await storage.create('up/data')
    await writeAll(writer, large)
    await writer.publish('a')
    let cuts = 0
    proxy.fate = method => (method === 'GET' && ++cuts <= 3 ? { cutAfter: 1_000_000 } : 'pass')
    t.ok((await bytesAt(storage, 'a'))?.equals(large))
    t.equal(cuts, 4)
  })

  await t.test('s3: reading continues when the object is touched, and fails when it is replaced', async t => {
    const proxy = await proxyS3(t, server)
    const storage = await openS3(t, proxy)
    for (const replaced of [false, true]) {
      const writer = await storage.create('up/data')
      await writeAll(writer, large)
      await writer.publish('a')
      const object = await storage.open('a')
      const into = Buffer.alloc(10)
      await object?.readInto(into, 0)
      if (replaced) await storage.put('a', Buffer.from('other'))
      else await storage.touch(['a'])
      const far = object?.readInto(into, 11 * mebibyte) ?? Promise.resolve(0)
      if (replaced) await t.rejects(far, { code: 'EIO' })
      else t.equal(await far, 10)
      await object?.close()
    }
  })

  await t.test('s3: a request to a busy service is retried', async t => {
    const proxy = await proxyS3(t, server)
    const storage = await openS3(t, proxy)
    let refused = 0
    proxy.fate = () => (++refused % 2 === 1 ? { status: 503, code: 'SlowDown' } : 'pass')
    await storage.put('a', Buffer.from('x'))
    t.equal((await storage.get('a'))?.toString(), 'x')
    const writer = await storage.create('up/data')
    await writeAll(writer, large)
    await writer.publish('b')
    t.ok((await bytesAt(storage, 'b'))?.equals(large))
  })

  await t.test('s3: a permanent refusal is an I/O error that says what to do', async t => {
    const proxy = await proxyS3(t, server)
    const storage = await openS3(t, proxy)
    for (const [code, status, says] of [
      ['AccessDenied', 403, /lack a permission/],
      ['NoSuchBucket', 404, /no such bucket/],
      ['ExpiredToken', 400, /have expired/],
      ['RequestTimeTooSkewed', 403, /clock differs/]
    ] as const) {
      proxy.fate = () => ({ status, code })
      for (const call of [
        () => storage.get('a'),
        () => storage.open('a'),
        () => storage.stat('a'),
        () => storage.put('a', Buffer.alloc(1)),
        () => walked(storage, 'a')
      ])
        await t.rejects(
          call().then(() => {}),
          { code: 'ESTALLED', s3Code: code, message: says }
        )
    }
  })

  await t.test('s3: a part that cannot be sent fails the writer, and nothing is visible', async t => {
    const proxy = await proxyS3(t, server)
    const storage = await openS3(t, proxy)
    for (const make of [() => storage.create('up/data'), () => storage.stage('blobs/a')] as (() => Promise<Writer | StagedWriter>)[]) {
      proxy.fate = (method, path) => (method === 'PUT' && /parts|partNumber/.test(path) ? { status: 403, code: 'AccessDenied' } : 'pass')
      const writer = await make()
      await t.rejects(
        writeAll(writer, large).then(() => writer.publish('blobs/a')),
        { code: 'ESTALLED' }
      )
      proxy.fate = () => 'pass'
      await writer.discard()
      if ('reader' in writer) await writer.reader.close()
      t.equal(await storage.stat('blobs/a'), undefined)
      t.strictSame(await keysBelow(storage, 'up'), [])
    }
  })

  await t.test('s3: a wrong setting fails the start with one line, a service that does not respond does not', async t => {
    await t.rejects(openS3(t, server, { bucket: 'no-such-bucket' }), {
      permanent: true,
      message: /no-such-bucket.* NoSuchBucket .*create it, or correct/
    })
    const wrong = { accessKeyId: 'registry', secretAccessKey: 'wrong' }
    await t.rejects(openS3(t, server, { credentials: wrong }), { permanent: true, message: /SignatureDoesNotMatch/ })
    const away = await openS3(t, server, { endpoint: 'http://127.0.0.1:9' })
    await t.rejects(away.check(), { code: 'ESTALLED', permanent: false })
  })

  await t.test('s3: a fill that does not fit into the spool is refused with EDQUOT, and gives back what it reserved', async t => {
    const storage = await openS3(t, server, { spoolBytes: 6 * mebibyte })
    const first = await storage.stage('a', 5 * mebibyte)
    await t.rejects(storage.stage('b', 2 * mebibyte), { code: 'EDQUOT' })
    await first.discard()
    await first.reader.close()
    const second = await storage.stage('b', 2 * mebibyte)
    await second.discard()
    await second.reader.close()
  })

  await t.test('s3: uploads proceed where the spool is smaller than all of them together', async t => {
    const storage = await openS3(t, server, { spoolBytes: 6 * mebibyte })
    const writers = await Promise.all([1, 2, 3, 4].map(each => storage.create(`up/${each}/data`)))
    await Promise.all(writers.map(writer => writeAll(writer, large)))
    await Promise.all(writers.map((writer, at) => writer.publish(`blobs/${at}`)))
    for (const at of writers.keys()) t.ok((await bytesAt(storage, `blobs/${at}`))?.equals(large))
  })

  await t.test('s3: a prefix precedes all keys', async t => {
    const bucket = makeBucket(server)
    const [inside, outside] = [await openS3(t, server, { bucket, prefix: 'some/prefix' }), await openS3(t, server, { bucket })]
    await inside.put('a/b', Buffer.from('x'))
    t.strictSame(await keysBelow(inside, 'a'), ['a/b'])
    t.strictSame(await keysBelow(outside, 'some'), ['some/prefix/.registry/trial', 'some/prefix/a/b'])
  })

  await t.test('s3: a presigned URL gives its object and no other', async t => {
    const storage = await openS3(t, server)
    await storage.put('a/b', Buffer.from('the bytes'))
    const url = await storage.locate('a/b', 60)
    t.equal(await (await fetch(url)).text(), 'the bytes')
    t.equal((await fetch(url.replace('/b?', '/c?'))).status, 403)
  })

  await t.test('s3: credentials are read from a file', async t => {
    const file = join(await temporaryDirectory(t), 'credentials')
    const { accessKeyId, secretAccessKey } = server.credentials
    await writeFile(file, `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key=${secretAccessKey}\n`)
    const storage = await openS3(t, server, { credentials: { file } })
    await storage.put('a', Buffer.from('x'))
    t.equal((await storage.get('a'))?.toString(), 'x')
    t.strictSame(parseCredentials('aws_access_key_id=a\naws_secret_access_key = b/+=\naws_session_token=c\n', file), {
      accessKeyId: 'a',
      secretAccessKey: 'b/+=',
      sessionToken: 'c'
    })
    t.throws(() => parseCredentials('aws_access_key_id=a\n', file), /has no aws_access_key_id and aws_secret_access_key/)
  })

  await t.test('s3: a budget is compared with the last count', async t => {
    const storage = await openS3(t, server, { budget: 10_000 })
    await storage.put('a', Buffer.alloc(6_000))
    await storage.recount(new AbortController().signal)
    t.match(await storage.usage(), { used: 6_001, usedInodes: 2, budget: 10_000 })
    t.match(await storage.shortage(1_000), { limit: 'storage.budget' })
    storage.budget = 100_000
    t.equal(await storage.shortage(1_000), undefined)
  })
})
