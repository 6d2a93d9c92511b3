import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net'
import { type Test, test } from 'tap'
import { ask, filesBelow } from '../src/support.ts'
import { fc } from '../support/seeded.ts'
import { longestTurnMs } from '../support/turns.ts'
import type { TestUpstream } from '../support/upstream.ts'
import { digestOf, indexType } from '../support/upstream.ts'
import { costly, costlyManifest, costlyTagList } from '../support/upstream-hostile.ts'
import { pull } from './client.ts'
import { behind, prefix, serveModes } from './scene.ts'

const runs = process.env['REGISTRY_TEST_SCALE'] === 'full' ? 1_000 : 24
const bytes = Buffer.from('the right bytes')
const digest = digestOf(bytes)
const right = JSON.stringify({ schemaVersion: 2, config: { mediaType: 'a/b', digest, size: bytes.length }, layers: [] })

const fields = fc.dictionary(
  fc.constantFrom(
    'content-length',
    'content-range',
    'content-type',
    'docker-content-digest',
    'etag',
    'location',
    'www-authenticate',
    'link',
    'transfer-encoding',
    'content-encoding'
  ),
  fc.oneof(
    fc.constantFrom(
      '0',
      '15',
      '-1',
      '99999999999999999999',
      'bytes 0-14/15',
      'bytes 5-2/1',
      'bytes */*',
      digest,
      `"${digest}"`,
      'sha256:zz',
      'http://127.0.0.1:1/x',
      '/v2/',
      '//evil/x',
      'ftp://a',
      'Bearer realm="http://127.0.0.1:1/token",service=x',
      'Bearer realm=',
      'Basic',
      'Bearer '.repeat(500),
      '<x>; rel=next',
      'chunked',
      'gzip'
    ),
    fc.string({ unit: fc.constantFrom(...' !"#%&(),-./019:;<=>?AZ[]_az{|}~\t'), maxLength: 60 })
  ),
  { maxKeys: 4 }
)
const body = fc.oneof(
  fc.constantFrom(bytes, Buffer.from(right), Buffer.from('{}'), Buffer.from('['.repeat(5_000)), Buffer.alloc(0), Buffer.from('<html>')),
  fc.uint8Array({ maxLength: 200 }).map(each => Buffer.from(each))
)
// Without 429: an upstream that wants to be left alone is, and the next answers would not be asked for.
const statuses = fc.constantFrom(200, 200, 200, 201, 204, 206, 301, 304, 307, 400, 401, 403, 404, 416, 418, 500, 503)
const answers = fc.record({ status: statuses, fields, body })

async function listening(t: Test, server: Server | TcpServer): Promise<TestUpstream> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } as TestUpstream
}

/** Whether everything that is stored is what its name says. */
async function verified(root: string): Promise<boolean> {
  const stored = (await filesBelow(root)).filter(each => each.endsWith('/data'))
  const sound = await Promise.all(
    stored.map(async each => digestOf(await readFile(`${root}/${each}`)) === `sha256:${each.split('/').at(-2)}`)
  )
  return sound.every(each => each)
}

for (const mode of ['Proxy', 'Direct'] as const) {
  test(`${mode}: whatever upstream answers, nothing wrong is given as right, and nothing unverified is stored`, {
    timeout: 600_000
  }, async t => {
    let answer = { status: 200, fields: {} as Record<string, string>, body: Buffer.alloc(0) }
    const server = createServer((_request, response) => {
      try {
        response.writeHead(answer.status, answer.fields)
        response.end(answer.body)
      } catch {
        response.destroy()
      }
    })
    server.on('connection', socket => socket.on('error', () => {}))
    const upstream = await listening(t, server)
    const served = await serveModes(t, {
      registry: behind(mode, upstream),
      cache: { tagTTL: '0s', negativeTTL: '0s' },
      upstream: { headerTimeout: '300ms', bodyTimeout: '300ms', connectTimeout: '300ms' },
      log: { level: 'silent' }
    })
    const property = fc.asyncProperty(answers, fc.constantFrom('', 'bytes=5-', 'bytes=-3'), async (given, range) => {
      answer = given
      const name = `/v2/${prefix.here}/app`
      const asking = ['manifests/v1', 'tags/list', `referrers/${digest}`].map(path => ask(served.listen, 'GET', `${name}/${path}`))
      const [blob, manifest, ...others] = await Promise.all([
        pull(served.listen, `${name}/blobs/${digest}`, range === '' ? {} : { headers: { range } }),
        ask(served.listen, 'GET', `${name}/manifests/${digestOf(right)}`),
        ask(served.listen, 'HEAD', `${name}/blobs/${digest}`),
        ask(served.listen, 'GET', '/v2/_catalog'),
        ...asking
      ])
      if (blob.status === 200 && blob.complete && blob.digest !== digest) return false
      if (manifest.status === 200 && manifest.body.toString() !== right) return false
      const codes = [blob, manifest, ...others].map(each => each.status)
      return !codes.includes(500) && (await verified(served.root))
    })
    await fc.assert(property, { numRuns: runs, endOnFailure: true })
    t.equal((await ask(served.listen, 'GET', '/v2/')).status, 200)
  })
}

// Some 50 ms beside an idle machine: the upstream is in this process, too. What was seen took seconds.
const tooLongMs = 500

test('Proxy: documents of any size and values neither freeze it, nor are more stored than manifests that were given', {
  timeout: 600_000
}, async t => {
  let sent: Buffer = Buffer.alloc(0)
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': indexType })
    response.end(sent)
  })
  const upstream = await listening(t, server)
  const served = await serveModes(t, {
    registry: behind('Proxy', upstream),
    cache: { tagTTL: '0s', negativeTTL: '0s' },
    log: { level: 'silent' }
  })
  const given = new Map<string, number>()
  const documents = fc.tuple(
    fc.constantFrom(costlyManifest, costlyTagList),
    fc.constantFrom(...Object.keys(costly)),
    fc.double({ min: 10, max: 23, noNaN: true })
  )
  const property = fc.asyncProperty(documents, async ([make, kind, power]) => {
    sent = make(kind, Math.floor(2 ** power))
    const name = `/v2/${prefix.here}/app`
    for (const path of ['manifests/v1', `manifests/${digestOf(sent)}`, 'tags/list', `referrers/${digest}`]) {
      let answer: Awaited<ReturnType<typeof ask>> | undefined
      const ms = await longestTurnMs(async () => {
        answer = await ask(served.listen, 'GET', `${name}/${path}`)
      })
      if (ms > tooLongMs || answer?.status === 500) return false
      if (path.startsWith('manifests/') && answer?.status === 200) given.set(digestOf(answer.body), answer.body.length)
    }
    return true
  })
  await fc.assert(property, { numRuns: runs, endOnFailure: true, examples: [[[costlyManifest, 'descriptors', 20]]] })
  t.ok(await verified(served.root))
  const files = (await filesBelow(served.root)).filter(each => each.endsWith('/data'))
  const stored = await Promise.all(files.map(async each => (await stat(`${served.root}/${each}`)).size))
  const sum = (sizes: Iterable<number>) => [...sizes].reduce((all, each) => all + each, 0)
  t.equal(sum(stored), sum(given.values()))
  t.ok(given.size > 0)
})

test('Proxy: an upstream that does not speak HTTP crashes nothing', { timeout: 600_000 }, async t => {
  let text = Buffer.alloc(0)
  const server = createTcpServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => void socket.end(text))
  })
  const upstream = await listening(t, server)
  const served = await serveModes(t, {
    registry: behind('Proxy', upstream),
    upstream: { headerTimeout: '300ms' },
    log: { level: 'silent' }
  })
  const heads = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map(each => Buffer.from(each)),
    fc
      .constantFrom(
        'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
        'HTTP/1.1 200 OK\r\n\r\n',
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
        'HTTP/1.1 100 Continue\r\n\r\n',
        `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(5_000)}\r\n`,
        'HTTP/1.1 999 ?\r\n\r\n'
      )
      .map(each => Buffer.from(each))
  )
  const property = fc.asyncProperty(heads, async given => {
    text = given
    const name = `/v2/${prefix.here}/app`
    const both = await Promise.all([ask(served.listen, 'GET', `${name}/manifests/v1`), pull(served.listen, `${name}/blobs/${digest}`)])
    return both.every(each => each.status !== 500)
  })
  await fc.assert(property, { numRuns: Math.ceil(runs / 2), endOnFailure: true })
  t.ok(await verified(served.root))
})
