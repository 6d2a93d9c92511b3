// The attack: a name, an address or a password that ends the text of hosts.toml and adds a mirror of its own, to which
// containerd sends every pull and the password.
import { deepStrictEqual } from 'node:assert'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { assert, constantFrom, oneof, property, record, string } from 'fast-check'
import { parse } from 'smol-toml'
import { test } from 'tap'
import type { RenderOptions } from '../../../src/containerd/hosts.ts'
import { renderHosts } from '../../../src/containerd/hosts.ts'
import type { Mirror } from '../../../src/containerd/mirrors.ts'
import { agentMirror, replicaMirrors } from '../../../src/containerd/mirrors.ts'
import { fixed, makeCa, tomlOf } from './scene.ts'

const auth = { username: 'node', password: 'p"\'\\]#= {}$(reboot)' }
const golden = (name: string) => readFileSync(join(import.meta.dirname, 'golden', name), 'utf8')
const render = (mirrors: readonly Mirror[], options: Partial<RenderOptions> = {}) =>
  renderHosts([{ host: fixed, mirrors }], { containerd: 'stock', ...options })

const replicas = [{ address: '10.0.0.1:5001' }, { address: '10.0.0.2:5001', local: true }, { address: '[fd00::3]:5001' }]

test('the agent is the one static host, with its CA and its password', async t => {
  t.equal(tomlOf(render([agentMirror('https://127.0.0.1:5001', { ca: makeCa(), auth })])), golden('agent.toml'))
})

test('without an agent all replicas are listed, the local one first, the others in their order', async t => {
  const found = render(replicaMirrors(replicas, { ca: makeCa(), auth }), { oldest: '2.1', dialTimeout: '1s' })
  t.equal(tomlOf(found), golden('replicas.toml'))
})

test("Deckhouse's containerd gets the same hosts, with its own table for the password and no rewrite", async t => {
  const found = render(replicaMirrors(replicas, { ca: makeCa(), auth }), { containerd: 'deckhouse' })
  t.equal(tomlOf(found), golden('replicas-deckhouse.toml'))
})

test('an agent on loopback may do without TLS', async t => {
  t.same(agentMirror('http://127.0.0.1:5001'), { host: '127.0.0.1:5001', scheme: 'http' })
  t.same(agentMirror('[::1]:5001'), { host: '[::1]:5001', scheme: 'https' })
})

for (const address of [
  '',
  'https://',
  'ftp://127.0.0.1:5001',
  'https://127.0.0.1:5001/v2',
  'https://user:pass@127.0.0.1:5001',
  '127.0.0.1:0',
  '127.0.0.1:5001"]\n[host."https://evil.example"',
  "127.0.0.1:5001'",
  '127.0.0.1:5001\u0000',
  '127.0.0.1\\u0022:5001',
  '../../etc:5001',
  'a b:5001'
]) {
  test(`the address ${JSON.stringify(address)} is refused, of an agent and of a replica`, async t => {
    t.throws(() => agentMirror(address), /^agent: expected/)
    t.throws(() => replicaMirrors([{ address }]), /^replica: expected/)
  })
}

test('a replica that is listed twice is refused, and so is an empty list', async t => {
  t.throws(() => render(replicaMirrors([{ address: 'a:1' }, { address: 'https://a:1', local: true }])), /https:\/\/a:1.*twice/)
  t.throws(() => replicaMirrors([]), /replicas: expected at least one/)
})

test('whatever is given, the file holds the mirrors that were named and nothing else, or there is none', async () => {
  const hostile = oneof(
    string({ unit: 'binary', maxLength: 30 }),
    constantFrom('a"\n[host."https://evil"]\n', "'''", '"""', 'a\\', '\u0085', '\u2028', '#', 'x]', '\r', '\ud800', 'é')
  )
  const sound = constantFrom('10.0.0.1:5001', 'node', '[fd00::1]:5001', 'x')
  const any = oneof(hostile, sound)
  await assert(
    property(record({ host: any, first: any, second: any, username: any, password: any }), ({ host, first, second, ...credentials }) => {
      let text: string
      let mirrors: Mirror[]
      try {
        mirrors = replicaMirrors([{ address: first }, { address: second }], { auth: credentials })
        text = tomlOf(renderHosts([{ host, mirrors }], { containerd: 'stock' }))
      } catch (error) {
        // A refusal names what is wrong.
        if (!/expected|twice/.test((error as Error).message)) throw error
        return
      }
      const basic = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')
      const own = { capabilities: ['pull', 'resolve'], header: { Authorization: `Basic ${basic}` } }
      const [one, two] = mirrors.map(mirror => `${mirror.scheme}://${mirror.host}`)
      const skip = (url = '') => (url.startsWith('http:') ? { skip_verify: true } : {})
      const wanted = { server: two, ...own, ...skip(two), host: { [one ?? '']: { ...own, ...skip(one) } } }
      deepStrictEqual(structuredClone(parse(text)), wanted)
    }),
    { numRuns: 3000 }
  )
})
