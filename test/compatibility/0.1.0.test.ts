import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Test, test } from 'tap'
import { configHash } from '../../config/effective.ts'
import { loadConfig } from '../../config/load.ts'
import type { Config } from '../../config/schema.ts'
import { ask, codeOf, digestOf, folder, type Served, serve } from '../src/support.ts'

// What version 0.1.0 wrote, and what people have built on it: a storage, configuration files, dashboards.
const fixtures = join(import.meta.dirname, '0.1.0')
const name = 'system/deckhouse'
const layerOf = (text: string) => `layer of ${text}\n`.repeat(20)
const configOf = (text: string) => `{"config":"${text}"}`
const session = '105bbcdc-6f95-4ef6-ac10-7ee227e33106'

/** A root as that version left it, in the middle of an upload. */
function rootOf(t: Test): string {
  const root = join(folder(t), 'root')
  const files = JSON.parse(readFileSync(join(fixtures, 'store.json'), 'utf8')) as Record<string, string>
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

async function isPullable({ listen }: Served, reference: string, text: string, at = name): Promise<void> {
  const manifest = await ask(listen, 'GET', `/v2/${at}/manifests/${reference}`)
  const { config, layers } = JSON.parse(manifest.body.toString())
  for (const [digest, bytes] of [
    [config.digest, configOf(text)],
    [layers[0].digest, layerOf(text)]
  ]) {
    const blob = await ask(listen, 'GET', `/v2/${at}/blobs/${digest}`)
    if (blob.status !== 200 || blob.body.toString() !== bytes) throw new Error(`${reference}: ${digest} answers ${blob.status}`)
  }
}

test('the storage of version 0.1.0: everything in it is served, and an upload goes on', async t => {
  const served = await serve(t, { root: rootOf(t) })
  const { listen } = served
  const tags = await ask(listen, 'GET', `/v2/${name}/tags/list`)
  t.same(JSON.parse(tags.body.toString()), { name, tags: ['damaged', 'index', 'moved', 'v1'] })
  const catalog = await ask(listen, 'GET', '/v2/_catalog')
  t.same(JSON.parse(catalog.body.toString()), { repositories: [name, `${name}/cached`] })
  await t.resolves(isPullable(served, 'v1', 'one'))
  await t.resolves(isPullable(served, 'moved', 'after'))
  await t.resolves(isPullable(served, 'v1', 'cached', `${name}/cached`))
  const index = JSON.parse((await ask(listen, 'GET', `/v2/${name}/manifests/index`)).body.toString())
  for (const [at, text] of ['one', 'two'].entries()) await t.resolves(isPullable(served, index.manifests[at].digest, text))

  const referrers = await ask(listen, 'GET', `/v2/${name}/referrers/${index.manifests[0].digest}`)
  t.match(JSON.parse(referrers.body.toString()).manifests, [{ artifactType: 'application/vnd.example.signature' }])

  const upload = `/v2/${name}/blobs/uploads/${session}`
  const progress = await ask(listen, 'GET', upload)
  t.match({ status: progress.status, range: progress.headers['range'] }, { status: 204, range: '0-15' })
  const whole = 'the first half, and the second'
  const end = await ask(listen, 'PUT', `${upload}?digest=${digestOf(Buffer.from(whole))}`, { body: whole.slice(16) })
  t.equal(end.status, 201)
  t.equal((await ask(listen, 'GET', `/v2/${name}/blobs/${digestOf(Buffer.from(whole))}`)).body.toString(), whole)
})

test('the storage of version 0.1.0: what it had quarantined is answered as missing, and healed by a push', async t => {
  const { listen } = await serve(t, { root: rootOf(t) })
  const bytes = layerOf('damaged')
  const digest = digestOf(Buffer.from(bytes))
  const before = await ask(listen, 'GET', `/v2/${name}/blobs/${digest}`)
  t.equal(before.status, 404)
  t.equal(codeOf(before), 'BLOB_UNKNOWN')
  t.equal((await ask(listen, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes })).status, 201)
  t.equal((await ask(listen, 'GET', `/v2/${name}/blobs/${digest}`)).body.toString(), bytes)
})

test('the storage of version 0.1.0: garbage collection removes nothing of it that is needed', async t => {
  const served = await serve(t, { root: rootOf(t) })
  const removed = await Array.fromAsync(served.collect(), each => each)
  t.match(removed.at(-1), { type: 'done', removed: { blob: 0, manifest: 0, tag: 0, link: 0 } })
  await t.resolves(isPullable(served, 'v1', 'one'))
})

test('the storage of version 0.1.0: a storage of this version is opened again by this version', async t => {
  const root = rootOf(t)
  const first = await serve(t, { root })
  const bytes = 'pushed by this version'
  const digest = digestOf(Buffer.from(bytes))
  t.equal((await ask(first.listen, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes })).status, 201)
  await first.stop()
  const second = await serve(t, { root })
  t.equal((await ask(second.listen, 'GET', `/v2/${name}/blobs/${digest}`)).body.toString(), bytes)
  await t.resolves(isPullable(second, 'v1', 'one'))
})

test('the configuration files of version 0.1.0 mean what they meant', async t => {
  const hashes = {
    direct: 'f47671a359010d99fe3474f6982c24f8fe1902cdac2ab600050ab4f2208391e1',
    local: 'a77bb4d4e8140abc4c3794ec198955a8f388ce05f3acca33e41eec7f84ce61e8',
    proxy: '2fdef348d8c29c0417e842a2025d91ca7bdf162b1cfae9967bc678405ecf65a5',
    s3: '3c03b2bf31b7dfdce3ba1d6e5c53cd03ae4af35f31d7b12c73ce507fe0c31996'
  }
  for (const [mode, hash] of Object.entries(hashes)) {
    const config = loadConfig({ file: join(fixtures, `config/${mode}.yaml`), env: {} })
    t.equal(configHash(withoutLater(config)), hash, mode)
  }
})

/** Settings that version 0.1.0 did not have; their defaults mean what it did without them. */
const later = [
  'limits.strictSizes',
  'log.audit',
  'registry.upstream.revalidate',
  'registry.upstreams.*.revalidate',
  'upstream.redirectHosts'
]

function withoutLater(config: Config): Config {
  const known = structuredClone(config)
  for (const path of later) drop(known, path.split('.'))
  return known
}

function drop(value: object, [key = '', ...rest]: string[]): void {
  const inside = value as Record<string, object>
  for (const each of key === '*' ? Object.keys(inside) : [key]) {
    if (rest.length === 0) delete inside[each]
    else if (inside[each]) drop(inside[each], rest)
  }
}

test('the dashboards of version 0.1.0: every metric has its name, type and labels still', async t => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8')
  const now = new Map(
    [...page.matchAll(/^\| `(registry_\w+)` \| (\w+) \| (.*?) \| /gm)].map(([, name = '', type = '', labels = '']) => {
      return [name, [type, ...[...labels.matchAll(/`(\w+)`:/g)].map(([, label = '']) => label)]]
    })
  )
  const then = readFileSync(join(fixtures, 'metrics.txt'), 'utf8').trim().split('\n')
  t.equal(then.length, 45)
  for (const line of then) {
    const [name = '', type, ...labels] = line.split(' ')
    t.same([now.get(name)?.[0], ...(now.get(name)?.slice(1) ?? []).sort()], [type, ...labels.sort()], name)
  }
})
