// An API server that restarts, throttles, refuses or cuts its answers must cost a controller a pause and nothing else.
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { ApiError } from '../../../src/kubernetes/api-error.ts'
import { KubernetesClient } from '../../../src/kubernetes/client.ts'
import { Election } from '../../../src/kubernetes/election.ts'
import { Informer, type InformerOptions } from '../../../src/kubernetes/informer.ts'
import { podAccess, readKubeconfig } from '../../../src/kubernetes/kubeconfig.ts'
import { decodeSecret, encodeSecret, type KubernetesObject } from '../../../src/kubernetes/object.ts'
import { objectPath } from '../../../src/kubernetes/paths.ts'
import { FakeApi } from '../../support/kubernetes-api.ts'

const secret = (name: string, values: Record<string, string> = {}): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace: 'd8-system' },
  type: 'Opaque',
  data: encodeSecret(values)
})
const secrets = '/api/v1/namespaces/d8-system/secrets'

async function open(t: Test): Promise<{ api: FakeApi; client: KubernetesClient }> {
  const api = await FakeApi.start(t)
  const client = new KubernetesClient({ server: api.url })
  t.teardown(() => client.close())
  return { api, client }
}

/** Follows Secrets; `until` resolves once the condition holds. */
function follow(t: Test, client: KubernetesClient, options: Partial<InformerOptions> = {}) {
  const stop = new AbortController()
  let notify = () => {}
  const informer = new Informer(client, { apiVersion: 'v1', kind: 'Secret', namespace: 'd8-system', changed: () => notify(), ...options })
  const run = informer.run(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await run
  })
  const until = (condition: () => boolean) =>
    new Promise<void>(resolve => {
      notify = () => condition() && resolve()
      notify()
    })
  return { informer, until, stop: () => stop.abort(), run }
}

const watching = async (api: FakeApi) => {
  while (api.watches === 0) await new Promise(resolve => setTimeout(resolve, 10))
}

test('client: a read waits out a server that is busy or restarts; the error of any other answer says what was refused', async t => {
  const { api, client } = await open(t)
  api.put(secret('a', { key: 'value' }))
  api.faults.push(
    { when: ({ method }) => method === 'GET', status: 0, times: 1 },
    { when: ({ method }) => method === 'GET', status: 500, times: 1 }
  )
  t.same(decodeSecret(await client.get(`${secrets}/a`)), { key: 'value' })
  t.equal(api.requests.length, 3)
  api.faults.push({
    when: () => true,
    status: 403,
    reason: 'Forbidden',
    message: 'secrets "a" is forbidden: User "x" cannot get resource',
    times: 1
  })
  await t.rejects(client.get(`${secrets}/a`), {
    name: 'ApiError',
    status: 403,
    reason: 'Forbidden',
    message: /^GET .*secrets\/a: secrets "a" is forbidden/
  })
  t.equal(api.requests.length, 4, 'once')
})

test('client: a write is repeated where the server has not begun it, and not where that is unknown', async t => {
  const { api, client } = await open(t)
  api.faults.push({ when: ({ method }) => method === 'POST', status: 429, retryAfter: 0.01, times: 2 })
  await client.create(secrets, secret('a'))
  t.equal(api.count('POST'), 3)
  api.faults.push({ when: ({ method }) => method === 'POST', status: 0, times: 1 })
  await t.rejects(client.create(secrets, secret('b')), { status: 0, message: /the API server does not answer/ })
  t.equal(api.count('POST'), 4)
})

test('client: what has changed meanwhile is not overwritten, and another object of the name is not removed', async t => {
  const { api, client } = await open(t)
  const first = await client.create(secrets, secret('a', { key: '1' }))
  api.put({ ...secret('a', { key: '2' }) })
  const path = objectPath(first)
  await t.rejects(client.apply(path, { ...first, data: encodeSecret({ key: '3' }) }), { name: 'ApiError', reason: 'Conflict' })
  await t.rejects(client.remove(path, first.metadata), { name: 'ApiError', reason: 'Conflict' })
  t.same(decodeSecret(api.get('Secret', 'a') ?? {}), { key: '2' })
  await t.rejects(client.create(secrets, secret('a')), { name: 'ApiError', reason: 'AlreadyExists' })
  const merged = await client.merge(path, { data: encodeSecret({ other: '4' }) })
  t.same(decodeSecret(merged), { key: '2', other: '4' })
})

test('informer: lists in pages, then follows; bookmarks keep its version young', async t => {
  const { api, client } = await open(t)
  for (let index = 0; index < 1100; index++) api.put(secret(`s-${index}`))
  const { informer, until } = follow(t, client)
  await until(() => informer.isSynced)
  t.equal(informer.items.size, 1100)
  t.equal(api.requests.filter(({ query }) => query.has('limit')).length, 3)
  await watching(api)
  api.put(secret('new', { key: 'value' }))
  api.delete('Secret', 's-0')
  await until(() => informer.items.has('d8-system/new') && !informer.items.has('d8-system/s-0'))
  t.match(informer.items.get('d8-system/s-1'), { apiVersion: 'v1', kind: 'Secret' })
})

test('informer: a watch that is cut, also within an event, is resumed and misses nothing; an expired one lists again', async t => {
  const { api, client } = await open(t)
  const { informer, until } = follow(t, client)
  await until(() => informer.isSynced)
  const lists = () => api.requests.filter(({ query }) => query.has('limit')).length
  for (const rest of ['', '{"type":"ADDED","obj']) {
    await watching(api)
    api.cutWatches(rest)
    api.put(secret(`after-${rest.length}`))
    await until(() => informer.items.has(`d8-system/after-${rest.length}`))
  }
  t.equal(lists(), 1, 'without another list')
  await watching(api)
  api.cutWatches()
  api.delete('Secret', 'after-0')
  api.compact()
  await until(() => !informer.items.has('d8-system/after-0'))
  t.equal(lists(), 2)
  t.equal(informer.fault, undefined)
})

test('informer: the last known objects stay while the server is gone, and a missing right is named', async t => {
  const { api, client } = await open(t)
  api.put(secret('a'))
  const { informer, until } = follow(t, client)
  await until(() => informer.isSynced)
  await watching(api)
  api.faults.push({ when: () => true, status: 403, reason: 'Forbidden', message: 'User "x" cannot list resource "secrets"', times: 1 })
  api.cutWatches()
  await until(() => informer.fault !== undefined)
  t.match(informer.fault?.message, /User "x" cannot list resource "secrets"/)
  t.equal(informer.items.size, 1)
  await until(() => informer.fault === undefined)
})

test('informer: a kind that the cluster does not have is empty; it is followed once it appears', async t => {
  const { api, client } = await open(t)
  api.faults.push({ when: ({ path }) => path.includes('moduleconfigs'), status: 404, reason: 'NotFound', times: 1 })
  api.put({ apiVersion: 'deckhouse.io/v1alpha1', kind: 'ModuleConfig', metadata: { name: 'deckhouse' } })
  const { informer, until } = follow(t, client, {
    apiVersion: 'deckhouse.io/v1alpha1',
    kind: 'ModuleConfig',
    namespace: undefined,
    fieldSelector: 'metadata.name=deckhouse'
  })
  await until(() => informer.isSynced)
  t.equal(informer.fault, undefined)
  await until(() => informer.items.has('deckhouse'))
})

test('informer: watches that end at once do not become a loop of requests', async t => {
  const { api, client } = await open(t)
  const { informer, until } = follow(t, client)
  await until(() => informer.isSynced)
  await watching(api)
  api.faults.push({ when: ({ query }) => query.has('watch'), status: 500, times: 3 })
  api.cutWatches()
  await until(() => informer.fault !== undefined)
  await until(() => informer.fault === undefined)
  t.ok(api.requests.length < 20, `${api.requests.length} requests`)
})

test('election: one leads at a time; it stops in time when it cannot renew, and the other takes over', async t => {
  const { api, client } = await open(t)
  let clock = 0
  const states: string[] = []
  const make = (identity: string) => {
    const stop = new AbortController()
    let notify = () => {}
    const election = new Election(client, {
      namespace: 'd8-system',
      name: 'registry-controller',
      identity,
      leaseMs: 12_000,
      renewMs: 10,
      now: () => clock,
      changed: state => {
        states.push(`${identity} ${state}`)
        notify()
      }
    })
    const run = election.run(stop.signal)
    const until = (leads: boolean) =>
      new Promise<void>(resolve => {
        notify = () => election.leads === leads && resolve()
        notify()
      })
    t.teardown(() => {
      stop.abort()
      return run
    })
    return { election, until, stop, run }
  }
  const a = make('a')
  await a.until(true)
  const b = make('b')
  while (api.count('GET') < 12) await new Promise(resolve => setTimeout(resolve, 10))
  t.same([a.election.leads, b.election.leads], [true, false])
  // The writes of a are lost from now on, and time passes for both.
  api.faults.push({
    when: ({ method, body }) => method === 'PUT' && (body as { spec?: { holderIdentity?: string } }).spec?.holderIdentity === 'a',
    status: 500
  })
  clock += 11_999
  t.equal(a.election.leads || !b.election.leads, true)
  clock += 2
  t.equal(a.election.leads, false, 'also before it hears of it: it was frozen')
  // A renewal that was under way may have arrived, so that the lease counts from when b saw it.
  const ticking = setInterval(() => {
    clock += 100
  }, 10)
  t.teardown(() => clearInterval(ticking))
  await b.until(true)
  t.equal(a.election.leads, false)
  b.stop.abort()
  await b.run
  api.faults.length = 0
  await a.until(true)
  t.match(api.get('Lease', 'registry-controller'), { spec: { holderIdentity: 'a' } })
  t.ok(states.length >= 3)
})

test('kubeconfig: the access of the current context; what is not supported says so', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'kubeconfig-'))
  const write = (text: string) => {
    const file = join(folder, 'config')
    writeFileSync(file, text)
    return file
  }
  const config = (user: string, cluster = 'certificate-authority-data: Q0E=') => `
current-context: one
contexts: [{name: one, context: {cluster: c, user: u, namespace: d8-system}}]
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443", ${cluster}}}]
users: [{name: u, user: {${user}}}]
`
  t.match(readKubeconfig(write(config('token: T'))), { server: 'https://10.0.0.1:6443', ca: 'CA', token: 'T', namespace: 'd8-system' })
  writeFileSync(join(folder, 'key.pem'), 'KEY')
  t.match(readKubeconfig(write(config('client-certificate-data: Q0VSVA==, client-key: key.pem'))), { cert: 'CERT', key: 'KEY' })
  t.throws(() => readKubeconfig(write(config('exec: {command: aws}'))), /gets its credentials from a program, which is not supported/)
  t.throws(() => readKubeconfig(write(config('token: T', 'insecure-skip-tls-verify: true'))), /insecure-skip-tls-verify is not supported/)
  t.throws(() => readKubeconfig(write('a: [')), /cannot be read as a kubeconfig/)
  t.throws(() => readKubeconfig(write('{}')), /contexts has no entry ""/)
  t.throws(() => readKubeconfig(join(folder, 'absent')), /ENOENT/)
  writeFileSync(join(folder, 'ca.crt'), 'CA')
  t.match(podAccess({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }, folder), {
    server: 'https://[fd00::1]:443',
    ca: 'CA',
    tokenFile: `${folder}/token`
  })
  t.equal(podAccess({}, folder), undefined)
  t.ok(new ApiError('x', { status: 429, reason: '' }).isPassing)
})
