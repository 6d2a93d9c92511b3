// The attacks: a registry sends this process where only it can reach, and has it hand out what is there: by a redirect of a ranged GET, whose
// bytes no digest verifies; by an answer of its own DNS that lies on loopback; by another port of its own host; by a Location of an upload; by
// a token realm that redirects to another service, whose `access_token` is then sent to the registry.
import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { test } from 'tap'
import { AddressRule } from '../../../src/upstream/connection/address-rule.ts'
import { startUpstream, type TestUpstream } from '../../support/upstream.ts'
import { startProxy } from '../../support/upstream-proxy.ts'
import { blobIn, clientOf, errorOf, never, read, ref, served } from './ask.ts'

const refused = { kind: 'refused', code: 'ADDRESS' }
/** Every name is on loopback. */
const toLoopback: LookupFunction = (_name, options, callback) => systemLookup('127.0.0.1', options, callback)

function named(server: TestUpstream, host: string): { url: string } {
  return { url: server.url.replace('127.0.0.1', host) }
}

for (const target of [
  'http://10.0.0.1',
  'http://192.168.7.7:9000',
  'http://[fd12::1]',
  'http://[::ffff:172.16.0.1]',
  'http://100.64.0.1'
]) {
  test(`upstream hops: a ranged GET does not read from ${target}, which only the upstream names`, async t => {
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.redirect = target
    const { upstream } = clientOf(t, [server])
    t.match(await errorOf(read(upstream, 'a', digest, { first: 10, last: 20 })), refused)
    t.match(await errorOf(upstream.checkBlob('a', digest, never())), refused, 'nor does a HEAD ask there')
  })
}

test('upstream hops: an upstream whose name lies on loopback is read, and opens loopback to no redirect', async t => {
  const server = await startUpstream(t)
  const target = await startUpstream(t, { content: server.content })
  const { bytes, digest } = blobIn(server, 'a', 1000)
  const { upstream } = clientOf(t, [named(server, 'registry.example')], { redirectHosts: [], hooks: { lookup: toLoopback } })
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
  for (const host of ['storage.example', 'registry.example', '127.0.0.1', 'localhost']) {
    server.faults.redirect = named(target, host).url
    t.match(await errorOf(read(upstream, 'a', digest, { first: 1 })), refused, host)
  }
  t.equal(target.requests.length, 0)
})

test('upstream hops: a name that is public for the first lookup and loopback for the next is not connected to', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = named(server, 'storage.example').url
  let lookups = 0
  const lookup: LookupFunction = (name, options, callback) =>
    name === 'storage.example' && lookups++ === 0
      ? callback(null, [
          { address: '192.0.2.1', family: 4 },
          { address: '127.0.0.1', family: 4 }
        ])
      : toLoopback(name, options, callback)
  const { upstream } = clientOf(t, [named(server, 'registry.example')], { hooks: { lookup } })
  t.match(await errorOf(read(upstream, 'a', digest)), refused, 'one address of several is enough')
  t.match(await errorOf(read(upstream, 'a', digest)), refused)
  t.equal(server.requests.length, 2)
})

test('upstream hops: a private host of the settings is read, at the port that they name', async t => {
  const server = await startUpstream(t)
  const target = await startUpstream(t, { content: server.content })
  const { bytes, digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = named(target, 'storage.example').url
  const { host } = new URL(named(target, 'storage.example').url)
  const hooks = { lookup: toLoopback }
  const read1 = (redirectHosts: string[]) =>
    read(clientOf(t, [named(server, 'registry.example')], { redirectHosts, hooks }).upstream, 'a', digest)
  t.ok((await read1([host])).bytes.equals(bytes))
  t.ok((await read1(['storage.example'])).bytes.equals(bytes))
  t.match(await errorOf(read1(['storage.example:1'])), refused)
})

test('upstream hops: no setting opens a metadata service', async t => {
  const rule = new AddressRule({
    endpoints: [],
    tokenHosts: ['listed.example', '169.254.169.254'],
    redirectHosts: ['listed.example', '169.254.169.254']
  })
  for (const purpose of ['content', 'token'] as const) {
    t.throws(() => rule.check(new URL('http://169.254.169.254/'), purpose, 'lookup'), { code: 'ADDRESS_REFUSED' })
    t.equal(rule.check(new URL('http://listed.example/'), purpose, 'lookup'), 'configured')
  }
  for (const address of ['169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '168.63.129.16', '192.0.0.192'])
    t.throws(() => rule.checkAddress(address, 'listed.example', 'configured'), { code: 'ADDRESS_REFUSED' }, address)
  rule.checkAddress('10.0.0.1', 'listed.example', 'configured')
})

test('upstream hops: a name of the settings may be on loopback, but does not come there from elsewhere', async t => {
  const rule = new AddressRule({ endpoints: [new URL('http://registry.example')], tokenHosts: [], redirectHosts: [] })
  rule.checkAddress('127.0.0.1', 'registry.example', 'configured')
  for (const address of ['192.0.2.1', '10.0.0.1']) rule.checkAddress(address, 'registry.example', 'configured')
  for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1', 'fe80::1'])
    t.throws(() => rule.checkAddress(address, 'registry.example', 'configured'), { code: 'ADDRESS_REFUSED' }, address)
  rule.checkAddress('127.0.0.1', 'other.example', 'configured')
})

test('upstream hops: the name of an upstream may not resolve to a metadata service', async t => {
  const lookup: LookupFunction = (_name, options, callback) => systemLookup('169.254.169.254', options, callback)
  const { upstream } = clientOf(t, [{ url: 'http://registry.example' }], { hooks: { lookup } })
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), refused)
})

for (const host of ['minio', 'minio.default.svc', 'vault.internal', 'printer.local', 'localhost', 'metadata.google.internal', '10.0.0.1']) {
  test(`upstream hops: a proxy is not asked for ${host} either`, async t => {
    const server = await startUpstream(t)
    const proxy = await startProxy(t, { all: server.url })
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.redirect = `http://${host}`
    const { upstream } = clientOf(t, [{ url: 'http://registry.example' }], { redirectHosts: [], proxy: { http: proxy.url } })
    t.match(await errorOf(read(upstream, 'a', digest)), refused)
    t.equal(proxy.asked.length, 1)
  })
}

test('upstream hops: an upload does not go on at a private host that the registry names', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 202, headers: { location: 'http://10.0.0.1/v2/a/blobs/uploads/1' } }]
  const upload = await clientOf(t, [server]).upstream.sink.startUpload('a')
  t.match(await errorOf(upload.refresh()), refused)
})

test('upstream hops: a token that another service gives after a redirect is not sent to the upstream', async t => {
  const credentials = { username: 'user', password: 'secret' }
  const server = await startUpstream(t, { auth: { scheme: 'Bearer' } })
  const vault = await startUpstream(t, { auth: { scheme: 'Bearer', tokenBody: '{"access_token":"of-the-vault"}' } })
  server.addImage('a', '1')
  server.desk.auth = { scheme: 'Bearer', tokenStatus: 302, tokenLocation: `${vault.url}/token` }
  const ask = (tokenHosts: string[]) => clientOf(t, [server], { credentials, tokenHosts }).upstream.statManifest('a', ref('1'), never())
  t.match(await errorOf(ask([])), { kind: 'refused', code: 'REDIRECT' })
  t.equal(vault.tokenRequests.length, 0)
  t.notOk(server.requests.some(each => each.authorization !== undefined))
  await errorOf(ask([new URL(vault.url).host]))
  t.match(vault.tokenRequests, [{ authorization: undefined }], 'a host of the settings is asked, without our credentials')
})

test('upstream hops: within the token service a redirect is followed', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer' } })
  server.addImage('a', '1')
  server.desk.auth = { scheme: 'Bearer', realm: `${server.url}/token?moved`, movedTo: '/token' }
  t.match(await served(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never())), { size: Number })
})

test('upstream hops: credentials are not sent again after another host had the request', async t => {
  const credentials = { username: 'user', password: 'secret' }
  const server = await startUpstream(t, { auth: { scheme: 'Basic', ...credentials } })
  const between = await startUpstream(t, { content: server.content })
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = between.url
  between.faults.redirect = () => `${server.url}/v2/other/tags/list`
  await errorOf(read(clientOf(t, [server], { credentials }).upstream, 'a', digest))
  const back = server.requests.filter(each => each.path === '/v2/other/tags/list')
  t.ok(back.length > 0)
  t.notOk(back.some(each => each.authorization !== undefined))
})
