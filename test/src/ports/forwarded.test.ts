import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { folder, metric, type Served, serve } from '../support.ts'

/** Certificates by openssl: an authority, the server's, and one for each client's common name. */
function makePki(t: Test, names: string[]) {
  const directory = folder(t)
  const path = (name: string) => join(directory, name)
  const make = (name: string, extra: string[]) => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path(`${name}.key`)]
    execFileSync('openssl', ['req', '-x509', ...key, '-subj', `/CN=${name}`, '-out', path(`${name}.crt`), ...extra], { stdio: 'pipe' })
  }
  make('ca', ['-addext', 'basicConstraints=critical,CA:TRUE'])
  const signed = ['-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-addext', 'basicConstraints=CA:FALSE']
  for (const name of ['server', ...names]) make(name, [...signed, '-addext', 'subjectAltName=IP:127.0.0.1'])
  return path
}

async function setUp(t: Test) {
  const path = makePki(t, ['balancer', 'stranger'])
  const tls = { certificate: path('server.crt'), key: path('server.key'), clientCA: path('ca.crt') }
  const served = await serve(t, { server: { tls, forwarders: ['balancer'] } })
  /** Asks with a client certificate, and gives the address that the log shows for it. */
  const seen = async (certificate: string | undefined, forwarded?: string): Promise<unknown> => {
    const own =
      certificate === undefined ? {} : { cert: readFileSync(path(`${certificate}.crt`)), key: readFileSync(path(`${certificate}.key`)) }
    const headers = { 'x-request-id': 'from-outside', ...(forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }) }
    const [host, port] = served.listen.split(':')
    const outgoing = request({ host, port, path: '/v2/', ca: readFileSync(path('ca.crt')), ...own, headers, agent: false })
    outgoing.end()
    const [response] = await once(outgoing, 'response')
    await response.toArray()
    return lastAddress(served)
  }
  return { served, seen }
}

const lastAddress = (served: Served): unknown => served.logged('request').at(-1)?.['address']

test('X-Forwarded-For: believed from the configured client certificate', async t => {
  const { seen } = await setUp(t)
  t.equal(await seen('balancer', '203.0.113.9'), '203.0.113.9')
})

test('X-Forwarded-For: only the last address counts, the client can forge the others', async t => {
  const { seen } = await setUp(t)
  t.equal(await seen('balancer', '198.51.100.1, 203.0.113.9'), '203.0.113.9')
  t.equal(await seen('balancer', '198.51.100.1,2001:db8::1'), '2001:db8::1')
})

test('X-Forwarded-For: what is no address is not believed', async t => {
  const { seen } = await setUp(t)
  for (const field of ['localhost', '203.0.113.9,', '203.0.113.9:80', "'; drop"]) t.equal(await seen('balancer', field), '127.0.0.1', field)
})

test('X-Forwarded-For: not believed from another verified certificate', async t => {
  const { seen } = await setUp(t)
  t.equal(await seen('stranger', '203.0.113.9'), '127.0.0.1')
})

test('X-Forwarded-For: not believed without a certificate', async t => {
  const { seen } = await setUp(t)
  t.equal(await seen(undefined, '203.0.113.9'), '127.0.0.1')
})

test('X-Request-Id: believed from the configured client certificate only', async t => {
  const { served, seen } = await setUp(t)
  const id = async (certificate: string | undefined) => {
    await seen(certificate)
    return served.logged('request').at(-1)?.['request']
  }
  t.equal(await id('balancer'), 'from-outside')
  t.not(await id('stranger'), 'from-outside')
  t.not(await id(undefined), 'from-outside')
})

test('X-Forwarded-For: without the field it is the address of the peer', async t => {
  const { seen } = await setUp(t)
  t.equal(await seen('balancer'), '127.0.0.1')
})

test('metrics: the ends of the certificates by kind', async t => {
  const { served } = await setUp(t)
  for (const kind of ['server', 'client_ca']) {
    const end = await metric(served, 'registry_certificate_expiry_timestamp_seconds', `{kind="${kind}"}`)
    t.ok((end ?? 0) > Date.now() / 1000, kind)
  }
})
