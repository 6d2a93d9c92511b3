import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { type Test, test } from 'tap'
import { reportText } from '../../../src/why/screen.ts'
import { mountSmall } from '../../support/place.ts'
import { ask, dataPath, layerPath, pushImage, until } from '../support.ts'
import { host, inFront, own, Pki, path, type Scene, serveWith, whyOf } from './scene.ts'

const reference = `${host}/${own}:v1`

/** Pulls it by the registry port, as a node would. */
async function pull({ registry, upstream }: Scene): Promise<{ config: string; layer: string }> {
  const image = upstream.addImage(path, 'v1')
  for (const each of [`manifests/v1`, `blobs/${image.config}`, `blobs/${image.layer}`]) {
    const { status } = await ask(registry.listen, 'GET', `/v2/${own}/${each}`)
    if (status !== 200) throw new Error(`${each} answered ${status}`)
  }
  // A client does not wait until the blob is stored.
  await until(() => [image.config, image.layer].every(each => existsSync(layerPath(registry.root, own, each))))
  return image
}

/** Both modes report the fault, and store nothing of the image. */
function fault(title: string, cause: string, { advice, prepare, ...more }: FaultCase): void {
  for (const mode of ['Direct', 'Proxy'] as const) {
    test(`${title}: named in ${mode}`, async t => {
      const scene = await inFront(t, { mode, ...more.scene?.(t) })
      scene.upstream.addImage(path, 'v1')
      await prepare?.(scene)
      const report = await whyOf(scene.registry, reference)
      t.match(report, { works: false, cause, advice, ...(more.report ?? {}) })
      t.match(reportText(report).trimEnd().split('\n').at(-1), advice, 'the sentence is last')
    })
  }
}

interface FaultCase {
  advice: RegExp
  prepare?: (scene: Scene) => unknown
  scene?: (t: Test) => Parameters<typeof inFront>[1]
  report?: Record<string, unknown>
}

fault('DNS', 'dns', {
  scene: () => ({ section: { imagesRepo: `nowhere.invalid/${path}` } }),
  advice: /name nowhere\.invalid cannot be resolved.*DNS/,
  report: { upstream: { name: 'no', connection: 'unknown' } }
})

fault('connection refused', 'connection-refused', {
  prepare: ({ upstream }) => upstream.stop(),
  advice: /127\.0\.0\.1:\d+ refuses connections.*port.*firewall/,
  report: { upstream: { connection: 'no', found: 'unknown' } }
})

fault('an untrusted CA', 'tls-untrusted', {
  scene: t => ({ tls: new Pki(t).pair('valid') }),
  advice: /not trusted here: put the certificate of that authority into registry\.(direct|proxy)\.ca/,
  report: { upstream: { connection: 'yes', certificate: 'no', access: 'unknown' } }
})

fault('an expired certificate', 'tls-expired', {
  scene: t => {
    const pki = new Pki(t)
    return { tls: pki.pair('over'), section: { ca: pki.ca } }
  },
  advice: /has expired.*renew it there.*clock/,
  report: { upstream: { certificate: 'no' } }
})

fault('an expired CA', 'tls-expired', {
  scene: t => {
    const pki = new Pki(t)
    const tls = pki.pair('valid')
    pki.expire()
    return { tls, section: { ca: pki.ca } }
  },
  advice: /The certificate in registry\.(direct|proxy)\.ca expired on \d{4}-\d\d-\d\d: put the new certificate/
})

fault('a certificate for another name', 'tls-name', {
  scene: t => {
    const pki = new Pki(t)
    return { tls: pki.pair('valid', 'DNS:other.test'), section: { ca: pki.ca } }
  },
  advice: /is for another name/
})

fault('401', 'unauthorized', {
  scene: () => ({ section: { username: 'puller', password: 'wrong' } }),
  prepare: ({ upstream }) => {
    upstream.desk.auth = { scheme: 'Basic', username: 'puller', password: 'right' }
  },
  advice: /does not accept the password of user puller: correct/,
  report: { upstream: { certificate: 'not needed', access: 'no', found: 'unknown', status: 401 } }
})

fault('401 without a user', 'unauthorized', {
  prepare: ({ upstream }) => {
    upstream.desk.auth = { scheme: 'Bearer', username: 'puller', password: 'right' }
  },
  advice: /requires a user and a password: set them/
})

fault('403', 'denied', {
  scene: () => ({ section: { username: 'puller', password: 'right' } }),
  prepare: ({ upstream }) => upstream.faults.statuses.push({ status: 403 }),
  advice: /accepts user puller but forbids deckhouse\/ee: have the right to pull granted/,
  report: { upstream: { access: 'no', status: 403 } }
})

fault('404 of a tag', 'tag-unknown', {
  prepare: ({ upstream }) => {
    upstream.content.tags.get(path)?.delete('v1')
    upstream.addImage(path, 'v1.1')
    upstream.addImage(path, 'alpha')
  },
  advice: /tag of .*:v1 is not upstream: did you mean v1\.1\?/,
  report: { upstream: { access: 'yes', found: 'no', status: 404 } }
})

fault('404 of a blob', 'blob-unknown', {
  prepare: ({ upstream }) => {
    const { layer } = upstream.addImage(path, 'v1')
    upstream.content.blobs.get(path)?.delete(layer)
  },
  advice: /The blob sha256:[0-9a-f]{12}… of the image is neither here nor upstream/,
  report: { upstream: { found: 'yes' }, manifests: [{ blobs: [{ state: 'upstream' }, { state: 'missing' }] }] }
})

fault('429', 'rate-limited', {
  prepare: ({ upstream }) => upstream.faults.statuses.push({ status: 429, headers: { 'retry-after': '60' } }),
  advice: /limits requests and accepts them again in 60 s: wait/,
  report: { upstream: { status: 429 } }
})

fault('a wrong path in imagesRepo', 'wrong-path', {
  scene: () => ({}),
  prepare: ({ upstream }) => {
    upstream.content.manifests.delete(path)
    const body = JSON.stringify({ errors: [{ code: 'NAME_UNKNOWN' }] })
    upstream.faults.statuses.push({ status: 404, body, headers: { 'content-type': 'application/json' } })
  },
  advice: /There is no repository 127\.0\.0\.1:\d+\/deckhouse\/ee upstream: correct the path in registry\.(direct|proxy)\.imagesRepo/
})

fault('5xx', 'upstream-broken', {
  prepare: ({ upstream }) => upstream.faults.statuses.push({ status: 500 }),
  advice: /answered 500.*look at the logs of the registry there/
})

fault('a page instead of a manifest', 'not-a-registry', {
  prepare: ({ upstream }) => upstream.faults.statuses.push({ status: 200, body: '<html>' }),
  advice: /not as a registry does.*check the host, the port and the scheme/
})

test('429: while the upstream limits requests none is sent', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.faults.statuses.push({ status: 429, headers: { 'retry-after': '60' } })
  await whyOf(registry, reference)
  const before = upstream.requests.length
  t.match(await whyOf(registry, reference), { cause: 'rate-limited', upstream: { connection: 'unknown' } })
  t.equal(upstream.requests.length, before)
})

test('a wrong path: a repository below a right one is said to be unknown, and not the path', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.addImage(path, 'v1')
  t.match(await whyOf(registry, `${host}/${own}/nothing:v1`), {
    cause: 'repository-unknown',
    advice: /upstream has no repository deckhouse\/ee\/nothing/
  })
})

test('disk full: named with its root, in Proxy where a pull works all the same, and in Local where the image could not be pushed', async t => {
  const small = await mountSmall(t, 4 * 1024 * 1024)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const root = `${small.directory}/root`
  const { registry, upstream } = await inFront(t, { root })
  upstream.addImage(path, 'v1')
  fillUp(small.directory)
  t.match(await whyOf(registry, reference), {
    works: true,
    cause: 'disk-full',
    advice: /A pull works, but the disk of .*root is full: free space there, or nothing new is kept/,
    disk: { writable: 'full' }
  })
  await registry.stop()
  const local = await serveWith(t, { root })
  t.match(await whyOf(local, reference), {
    works: false,
    cause: 'disk-full',
    advice: /^The disk of .* is full: free space there and push the image again/
  })
})

function fillUp(directory: string): void {
  for (let size = 1024 * 1024, at = 0; size >= 1; at++) {
    try {
      writeFileSync(`${directory}/filler-${at}`, Buffer.alloc(size))
    } catch {
      truncateSync(`${directory}/filler-${at}`, 0)
      size = Math.floor(size / 2)
    }
  }
}

test('a damaged blob in Local: a truncated one is named, and the advice is to push again', async t => {
  const registry = await serveWith(t, {})
  const { config } = await pushImage(registry, own, 'v1')
  truncateSync(dataPath(registry.root, config), 5)
  t.match(await whyOf(registry, reference), {
    works: false,
    cause: 'damaged',
    advice: /The blob sha256:.* is damaged on the disk here: push the image again/,
    manifests: [{ blobs: [{ digest: config, state: 'damaged' }] }]
  })
})

test('a damaged blob in Local: one of the right size is found by its digest, and its file is named', async t => {
  const registry = await serveWith(t, {})
  const { config } = await pushImage(registry, own, 'v1')
  flip(dataPath(registry.root, config))
  const report = await whyOf(registry, reference)
  t.match(report, { works: false, cause: 'damaged', manifests: [{ blobs: [{ state: 'damaged' }] }] })
  t.match(report.advice, `remove ${dataPath(registry.root, config)}, then push the image again`)
})

test('a damaged blob in Proxy: a copy that the registry itself passes over does no harm while upstream has the blob', async t => {
  const scene = await inFront(t)
  const { layer } = await pull(scene)
  truncateSync(dataPath(scene.registry.root, layer), 5)
  const report = await whyOf(scene.registry, reference)
  t.match(report, { works: true, manifests: [{ blobs: [{ state: 'here' }, { state: 'upstream', note: 'the copy here is damaged' }] }] })
  t.equal((await ask(scene.registry.listen, 'GET', `/v2/${own}/blobs/${layer}`)).status, 200, 'and that is true')
})

test('a damaged blob in Proxy: wrong bytes are named, and after following the advice the pull works', async t => {
  const scene = await inFront(t)
  const { layer } = await pull(scene)
  const file = dataPath(scene.registry.root, layer)
  flip(file)
  const { advice } = await whyOf(scene.registry, reference)
  t.match(advice, `remove ${file}, then pull again`)
  rmSync(file)
  t.match(await whyOf(scene.registry, reference), { works: true })
  t.equal((await ask(scene.registry.listen, 'GET', `/v2/${own}/blobs/${layer}`)).status, 200)
})

function flip(file: string): void {
  const bytes = readFileSync(file)
  bytes[3] = (bytes[3] ?? 0) ^ 0xff
  writeFileSync(file, bytes)
}
