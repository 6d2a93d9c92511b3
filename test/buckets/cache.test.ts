import { test } from 'tap'
import { ProxyBlobs } from '../../src/backend/proxy-blobs.ts'
import { blob } from '../../src/content/keys.ts'
import { readAll, scene } from '../src/backend/scene.ts'
import { blobIn } from '../src/upstream/ask.ts'
import { named, neverAborted } from '../support/content.ts'
import { type Fate, proxyS3 } from '../support/s3-proxy.ts'
import { makeBucket, multipartUploads, openS3, ownerOf, startS3 } from '../support/s3-server.ts'

const name = named('here/app')
const mebibyte = 1024 * 1024
const size = 12 * mebibyte
const spoolBytes = 14 * mebibyte

const isPart = (method: string, path: string) => method === 'PUT' && path.includes('partNumber=')
const isBegin = (method: string, path: string) => method === 'POST' && path.includes('uploads=')
const isEnd = (method: string, path: string) => method === 'POST' && path.includes('uploadId=')
const refused: Fate = { status: 500, code: 'InternalError' }
const busy: Fate = { status: 503, code: 'SlowDown' }

test('a cache in a bucket', async t => {
  const service = await startS3(t)
  if (!service) return
  const owner = ownerOf(t, service)
  for (const [what, fails, fate, source] of [
    ['the upload of a part is refused', isPart, refused, 'waits'],
    ['the service is too busy for a part', isPart, busy, 'is fast'],
    ['the answer to a part is lost', isPart, 'lost', 'waits'],
    ['the upload cannot begin', isBegin, refused, 'waits'],
    ['the upload cannot be completed', isEnd, refused, 'is fast']
  ] as const)
    await t.test(
      `Proxy over a bucket: ${what} and upstream ${source}: clients get all bytes, nothing is left, and later it is stored`,
      async t => {
        const [proxy, bucket] = [await proxyS3(t, service), makeBucket(service)]
        const storage = await openS3(t, proxy, { bucket, spoolBytes })
        const { server, content, route, fills, ended, clock } = await scene(t, storage)
        const blobs = new ProxyBlobs(content, fills, route, { maxFills: 8 })
        const { bytes, digest } = blobIn(server, 'there/app', size)
        const open = async () => {
          const { outcome, value } = await blobs.open(name, digest, { signal: neverAborted })
          return { outcome, bytes: readAll(value) }
        }
        let failures = 0
        const failed = Promise.withResolvers<void>()
        proxy.fate = (method, path) => {
          if (!fails(method, path)) return 'pass'
          if (++failures === 4) failed.resolve()
          return fate
        }
        if (source === 'waits') server.faults.hold = { at: size - mebibyte, until: failed.promise }
        const pulls = [await open(), await open()]
        const fill = fills.find(digest)
        t.strictSame(
          pulls.map(each => each.outcome),
          ['miss', 'join']
        )
        for (const pull of pulls) t.ok((await pull.bytes).equals(bytes))
        t.equal(await fill?.done, 'medium')
        t.match(ended, [{ result: 'medium', error: { code: 'ESTALLED' } }])
        t.ok(failures >= 4, 'it was tried again')
        t.equal(await storage.stat(blob(digest)), undefined)
        t.strictSame(await multipartUploads(owner, bucket), [])
        const all = await storage.stage('x', spoolBytes)
        await all.discard()
        await all.reader.close()

        proxy.fate = () => 'pass'
        server.faults.hold = undefined
        t.equal((await open()).outcome, 'bypass', 'it waits a little')
        clock.at += 10_001
        const again = await open()
        t.equal(again.outcome, 'miss')
        t.ok((await again.bytes).equals(bytes))
        await fills.find(digest)?.done
        const stored = await open()
        t.equal(stored.outcome, 'hit')
        t.ok((await stored.bytes).equals(bytes))
      }
    )
})
