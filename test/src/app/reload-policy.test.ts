import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hashSync } from '@node-rs/bcrypt'
import { pino } from 'pino'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { settingsTable } from '../../../config/compiled.ts'
import { configDifference, needRestart, reloadPolicyOf } from '../../../config/difference.ts'
import { loadConfig } from '../../../config/load.ts'
import { isMapping, type SettingSchema } from '../../../config/read/walk.ts'
import type { Config } from '../../../config/schema.ts'
import { Reload } from '../../../src/app/reload.ts'
import { startRegistry } from '../../../src/app/server.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { authority } from '../../config/written.ts'
import { tokenKey } from '../../support/tokens.ts'
import { startUpstream } from '../../support/upstream.ts'
import { ask, folder, unbounded } from '../support.ts'

// Each setting of the table is changed alone. What the table says of it has to be true: `restart` is refused and named; the new value
// of the others is read, either by what is made anew or by what runs.

type Settings = Record<string, unknown>

const upstream = (path: string): Record<string, unknown> => ({
  [`${path}.scheme`]: 'HTTPS',
  [`${path}.license`]: { [`${path}.license`]: 'l', [`${path}.username`]: '', [`${path}.password`]: '' },
  [`${path}.username`]: 'v',
  [`${path}.password`]: 'q',
  [`${path}.ca`]: { [`${path}.ca`]: authority, [`${path}.scheme`]: 'HTTPS' },
  [`${path}.endpoints`]: ['127.0.0.1:3']
})

const remoteKeys = { 'auth.serviceAccounts.keys': undefined, 'auth.serviceAccounts.keysURL': 'https://127.0.0.1:1/keys' }

/** Another value of each setting; a mapping changes several settings, since they go together. */
const changes: Readonly<Record<string, unknown>> = {
  'registry.mode': { 'registry.mode': 'Local', 'registry.proxy': undefined },
  ...upstream('registry.direct'),
  'registry.direct.imagesRepo': '127.0.0.1:2/other',
  'registry.direct.checkMode': 'Relax',
  ...upstream('registry.proxy'),
  'registry.proxy.imagesRepo': '127.0.0.1:2/other',
  'registry.proxy.checkMode': 'Relax',
  'registry.proxy.ttl': '10m',
  'registry.proxy.revalidate': 'head',
  ...upstream('registry.upstreams.<host>'),
  'registry.upstreams.<host>.policy': 'transit',
  'registry.upstreams.<host>.revalidate': 'head',
  'registry.upstreams': { 'registry.upstreams': { 'other.test': {} } },
  'server.listen': '127.0.0.1:1',
  'server.names': ['other.test'],
  'server.path': 'other',
  'server.tls.certificate': '/other',
  'server.tls.key': '/other',
  'server.tls.clientCA': '/other',
  'server.tls.clientCRL': '/other',
  'server.admin': '127.0.0.1:2',
  'server.adminTLS.certificate': '/other',
  'server.adminTLS.key': '/other',
  'server.adminTLS.clientCA': '/other',
  'server.adminTLS.clientCRL': '/other',
  'server.control': '/other',
  'server.forwarders': {},
  'server.drain': '2s',
  'storage.filesystem.root': '/other',
  'storage.filesystem.writeLimit': '2MiB',
  'storage.s3.bucket': 'other',
  'storage.s3.region': 'other',
  'storage.s3.endpoint': 'http://other.test',
  'storage.s3.forcePathStyle': true,
  'storage.s3.prefix': 'other',
  'storage.s3.credentials.accessKeyId': 'other',
  'storage.s3.credentials.secretAccessKey': 'other',
  'storage.s3.credentials.file': { 'storage.s3.credentials': { file: '/other' } },
  'storage.s3.ca': authority,
  'storage.s3.redirect': 'always',
  'storage.s3.partBytes': '8MiB',
  'storage.s3.spool': '/other',
  'storage.s3.spoolBytes': '8GiB',
  'storage.budget': '10GiB',
  'storage.reserve': '1MiB',
  'storage.inodeBudget': 1_000_000,
  'storage.inodeReserve': 1,
  'auth.users.file': 'others',
  'auth.users.roles': { 'auth.users.roles': { u: ['push'] } },
  'auth.anonymous': ['pull'],
  'auth.tokens.keys': ['other.key'],
  'auth.tokens.service': 'other',
  'auth.tokens.lifetime': '2m',
  'auth.tokens.realm': 'https://other.test/v2/token',
  'auth.serviceAccounts.issuers': ['https://other.test'],
  'auth.serviceAccounts.audience': 'other',
  'auth.serviceAccounts.keys': ['other.pub'],
  'auth.serviceAccounts.keysURL': remoteKeys,
  'auth.serviceAccounts.ca': { ...remoteKeys, 'auth.serviceAccounts.ca': '/other' },
  'auth.serviceAccounts.token': { ...remoteKeys, 'auth.serviceAccounts.token': '/other' },
  'auth.serviceAccounts.refresh': { ...remoteKeys, 'auth.serviceAccounts.refresh': '2m' },
  'auth.serviceAccounts.user': 'other',
  'auth.serviceAccounts.roles': { 'auth.serviceAccounts.roles': { 'a:b': ['push'] } },
  'limits.manifestBytes': '2MiB',
  'limits.strictSizes': true,
  'limits.uploadIdle': '2h',
  'limits.minimumRate.bytes': 2,
  'limits.minimumRate.per': '2s',
  'limits.connections': 2,
  'limits.uploads': 2,
  'limits.egress': '2MiB',
  'limits.upstream': '2MiB',
  'cache.tagTTL': '2s',
  'cache.onUpstreamNotFound': 'forget',
  'cache.negativeTTL': '2s',
  'cache.metadataTTL': '2s',
  'cache.pin': ['other'],
  'cache.pinFile': 'others',
  'gc.untagged': '2h',
  'gc.grace': '2h',
  'gc.every': '2s',
  'scrub.every': '2s',
  'upstream.connections': 2,
  'upstream.connectTimeout': '2s',
  'upstream.headerTimeout': '2s',
  'upstream.bodyTimeout': '2s',
  'upstream.fills': 2,
  'upstream.tokenHosts': ['other.test'],
  'upstream.redirectHosts': ['other.test'],
  'upstream.proxy.http': 'http://127.0.0.1:2',
  'upstream.proxy.https': 'http://127.0.0.1:2',
  'upstream.proxy.none': 'other.test',
  'log.level': 'warn',
  'log.audit': 'audit.log'
}

// How long background work may take to come by.
const longestMs = 10_000

// These exclude each other, or would keep others from being read.
const apart: readonly string[] = [
  'imagesRepo',
  'license',
  'username',
  'password',
  'scheme',
  'ca',
  'endpoints',
  'mode',
  'upstreams',
  'file',
  'path',
  'http',
  'https',
  'none',
  'keys',
  'keysURL',
  'token',
  'refresh'
]

const batchOf = (setting: string): string => {
  const key = setting.split('.').at(-1) ?? ''
  return apart.includes(key) ? key : reloadPolicyOf(setting)
}

/** Settings that the program passes on to others, and reads nowhere. */
const unread: readonly string[] = ['registry.direct.checkMode', 'registry.proxy.checkMode']

const leaves = (schema: SettingSchema, path: string): string[] =>
  Object.entries(schema.properties ?? {}).flatMap(([key, setting]) => {
    const here = path === '' ? key : `${path}.${key}`
    const { additionalProperties: entry } = setting
    if (typeof entry === 'object' && entry.properties) return [here, ...leaves(entry, `${here}.<host>`)]
    return setting.properties && setting.type === 'object' ? leaves(setting, here) : [here]
  })

const all = leaves(settingsTable, '')

test('reload: another value of every setting is known here', async t => {
  t.same(Object.keys(changes).sort(), [...all].sort())
})

for (const mode of ['Local', 'bucket'] as const) {
  test(`reload: settings that need a restart are refused and named (${mode})`, async t => {
    const settings = all.filter(each => reloadPolicyOf(each) === 'restart' && each.startsWith('storage.s3') === (mode === 'bucket'))
    const scene = sceneOf(t, mode)
    for (const batch of Map.groupBy(settings, batchOf).values()) {
      const applied: Config[] = []
      const reload = new Reload(scene.load(), {
        load: () => scene.load(batch),
        apply: async next => void applied.push(next),
        log: pino({ level: 'silent' }),
        metrics: createMetrics(),
        difference: configDifference,
        needRestart
      })
      const { result, reason = '' } = await reload.check()
      t.equal(result, 'refused', batch.join())
      t.equal(applied.length, 0)
      // Of a mapping that other settings replace, the mapping is named.
      const named = reason.replace('only a restart can change ', '').split(', ')
      for (const setting of batch)
        t.ok(
          named.some(each => setting === each || setting.startsWith(`${each}.`)),
          setting
        )
    }
  })
}

for (const mode of ['Proxy', 'Direct'] as const) {
  test(`reload: the new value of each setting that a running process can take is read (${mode})`, async t => {
    const from = await startUpstream(t)
    for (const tag of ['v1', 'v2']) from.addImage('deckhouse/a', tag)
    const scene = sceneOf(t, mode, new URL(from.url).host)
    const log = pino({ level: 'silent' }, { write: () => {} })
    let load = () => scene.load()
    const first = load()
    const registry = await startRegistry(first, log, () => load())
    t.teardown(() => registry.stop())
    const pull = (tag: string, query = '') => ask(registry.listen, 'GET', `/v2/system/deckhouse/a/manifests/${tag}${query}`, { headers })
    for (const tag of ['v1', 'v2']) t.equal((await pull(tag)).status, 200)
    // Cached in Proxy, and gone at the upstream.
    from.content.tags.get('deckhouse/a')?.delete('v2')
    const sections = Object.keys(scene.settings['registry'] as object)
    const own = all.filter(each => !/^registry\.(direct|proxy)\./.test(each) || sections.includes(each.split('.')[1] ?? ''))
    const taken = own.filter(each => reloadPolicyOf(each) !== 'restart' && !unread.includes(each) && each !== 'server.drain')
    // In Direct only what Proxy has not.
    const settings = mode === 'Proxy' ? taken : taken.filter(each => each.startsWith('registry.direct.'))
    for (const batch of Map.groupBy(settings, batchOf).values()) {
      const changed = tracked(scene.load(batch))
      load = () => changed.config
      const { result, reason } = await registry.reload()
      t.equal(result, 'applied', reason ?? batch.join())
      await Promise.all([pull('v1'), pull('v1', '?ns=quay.test'), pull('v1', '?ns=other.test'), pull('v2')])
      await ask(registry.admin, 'GET', '/metrics')
      for (const setting of batch) {
        const paths = differing(first, scene.load([setting]))
        const isRead = () => paths.some(path => changed.reads.has(path) || changed.reads.has(path.replace(/^(\w+\.\w.*)\.\w+$/, '$1')))
        for (const deadline = Date.now() + longestMs; !isRead() && Date.now() < deadline; ) await sleep(20)
        t.ok(isRead(), setting)
      }
    }
    const last = tracked(scene.load(['server.drain']))
    load = () => last.config
    t.equal((await registry.reload()).result, 'applied')
    await registry.stop()
    t.ok(last.reads.has('server.drain'))
  })
}

/** A configuration file of a mode, in which one setting can be changed. */
function sceneOf(t: Test, mode: 'Local' | 'bucket' | 'Proxy' | 'Direct', host = '127.0.0.1:1') {
  const place = folder(t)
  const account = { scheme: 'HTTP', endpoints: [host], username: 'u', password: 'p' }
  const own = { imagesRepo: `${host}/deckhouse`, ...account }
  const storage = { filesystem: { root: join(place, 'root') }, ...unbounded }
  const bucket = { s3: { bucket: 'one', credentials: { accessKeyId: 'a', secretAccessKey: 's' }, endpoint: 'https://s3.test' } }
  for (const file of ['token.key', 'other.key']) writeFileSync(join(place, file), tokenKey().pem)
  writeFileSync(join(place, 'issuer.pub'), tokenKey('RS256').publicPem)
  writeFileSync(join(place, 'other.pub'), tokenKey('RS256').publicPem)
  for (const users of ['users', 'others']) writeFileSync(join(place, users), `u:${hashSync('p', 4)}\n`)
  const settings: Settings = {
    registry: {
      mode: mode === 'bucket' ? 'Local' : mode,
      ...(mode === 'Proxy' ? { proxy: own } : mode === 'Direct' ? { direct: own } : {}),
      upstreams: { 'quay.test': account }
    },
    server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0', drain: '1s', ...(mode === 'Local' ? { tls: tlsFiles } : {}) },
    storage: mode === 'bucket' ? bucket : storage,
    auth: {
      users: { file: 'users', roles: { u: ['pull'] } },
      tokens: { keys: ['token.key'] },
      serviceAccounts: { issuers: ['https://issuer.test'], audience: 'registry', keys: ['issuer.pub'] }
    },
    cache: { pinFile: 'users', tagTTL: '0s' },
    gc: { every: '1s' },
    scrub: { every: '1s' },
    upstream: { proxy: { http: 'http://127.0.0.1:1', https: 'http://127.0.0.1:1', none: '127.0.0.1' } }
  }
  return {
    settings,
    load: (changed: readonly string[] = []): Config => {
      const text = structuredClone(settings)
      for (const setting of changed) {
        const value = changes[setting]
        for (const [path, other] of Object.entries(isMapping(value) ? value : { [setting]: value })) set(text, path, other)
      }
      const file = join(place, 'registry.yaml')
      writeFileSync(file, stringify(text))
      const config = loadConfig({ file, env: {} })
      // In a file it needs TLS, of which the requests here have none.
      return changed.includes('server.forwarders') ? { ...config, server: { ...config.server, forwarders: ['other'] } } : config
    }
  }
}

const headers = { authorization: `Basic ${Buffer.from('u:p').toString('base64')}` }
const tlsFiles = { certificate: '/c', key: '/k', clientCA: '/a' }

function set(settings: Settings, path: string, value: unknown): void {
  const keys = path.replace('<host>', 'quay.test').replace('quay.test', 'quay\0test').split('.')
  let part = settings
  for (const key of keys.slice(0, -1).map(each => each.replace('\0', '.'))) {
    part[key] ??= {}
    part = part[key] as Settings
  }
  part[keys.at(-1) ?? ''] = value
}

/** The configuration, and the paths in it that were read by anything but `config/` itself, which compares and prints all of it. */
function tracked(config: Config): { config: Config; reads: Set<string> } {
  const reads = new Set<string>()
  const wrapped = (value: object, path: string): object =>
    new Proxy(value, {
      get: (target, key) => {
        const inside: unknown = Reflect.get(target, key)
        if (typeof key === 'symbol') return inside
        const here = path === '' ? key : `${path}.${key}`
        if (!/\/config\/(resolve|difference|effective)/.test(new Error().stack ?? '')) reads.add(here)
        return typeof inside === 'object' && inside !== null ? wrapped(inside, here) : inside
      }
    })
  // A copy, since a proxy has to give what is frozen as it is.
  return { config: wrapped(structuredClone(config), '') as Config, reads }
}

/** The paths of the effective configuration that differ. */
function differing(a: unknown, b: unknown, path = ''): string[] {
  if (!isMapping(a) || !isMapping(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  return keys.flatMap(key => differing(a[key], b[key], path === '' ? key : `${path}.${key}`))
}
