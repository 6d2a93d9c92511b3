import { parse } from 'smol-toml'
import { test } from 'tap'
import type { RenderOptions } from '../../../src/containerd/hosts.ts'
import { renderHosts } from '../../../src/containerd/hosts.ts'
import type { Mirror } from '../../../src/containerd/mirrors.ts'
import { directory, fixed, makeCa, tomlOf } from './scene.ts'

const auth = { username: 'ro', password: 'p:ä"\\ss' }
const basic = Buffer.from('ro:p:ä"\\ss').toString('base64')
const node: Mirror = { host: '127.0.0.1:5001', scheme: 'https' }
const upstream: Mirror = { host: 'registry.example.com', scheme: 'https' }
const capabilities = ['pull', 'resolve']

function render(mirrors: readonly Mirror[], options: RenderOptions) {
  return parse(tomlOf(renderHosts([{ host: fixed, mirrors }], options)))
}

test('stock containerd that may not leave the mirror gets it as server, with its CA and credentials beside it', async t => {
  t.same(render([{ ...node, ca: makeCa(), auth }], { containerd: 'stock' }), {
    server: 'https://127.0.0.1:5001',
    capabilities,
    ca: ['https-127.0.0.1:5001-ca.crt'],
    header: { Authorization: `Basic ${basic}` },
    host: {}
  })
})

test('stock containerd that may leave gets no server, and the mirror as a host', async t => {
  t.same(render([{ ...node, auth }], { containerd: 'stock', leaving: 'allowed' }), {
    host: { 'https://127.0.0.1:5001': { capabilities, header: { Authorization: `Basic ${basic}` } } }
  })
})

test('stock containerd tries the mirrors in their order: hosts first, the server last', async t => {
  const [third, first] = [{ ...node, host: '127.0.0.1:1' }, upstream]
  const found = render([first, node, third], { containerd: 'stock' })
  t.equal(found['server'], 'https://127.0.0.1:1')
  t.same(Object.keys(found['host'] as object), ['https://registry.example.com', 'https://127.0.0.1:5001'])
})

test("Deckhouse's containerd gets auth and rewrite tables and no server", async t => {
  const rewrites = [{ from: '^system/deckhouse', to: 'deckhouse/ee' }]
  t.same(render([{ ...upstream, auth, rewrites }], { containerd: 'deckhouse' }), {
    host: {
      'https://registry.example.com': {
        capabilities,
        auth: { auth: basic },
        rewrite: [{ regex: '^system/deckhouse', replace: 'deckhouse/ee' }]
      }
    }
  })
})

test("Deckhouse's file spells every table out", async t => {
  const text = tomlOf(
    renderHosts([{ host: fixed, mirrors: [{ ...upstream, auth, rewrites: [{ from: '^a', to: 'b' }] }] }], { containerd: 'deckhouse' })
  )
  const url = 'host."https://registry.example.com"'
  t.same(
    text.split('\n').filter(line => line.startsWith('[')),
    ['[host]', `[${url}]`, `[${url}.auth]`, `[[${url}.rewrite]]`]
  )
})

test('a mirror over http skips verification, one over https never does', async t => {
  const found = render([{ ...node, scheme: 'http' }, upstream], { containerd: 'deckhouse' })
  t.same(found, {
    host: { 'http://127.0.0.1:5001': { capabilities, skip_verify: true }, 'https://registry.example.com': { capabilities } }
  })
})

test('a file with credentials has mode 600, a CA file 644', async t => {
  const files = directory(fixed, { ca: makeCa(), auth })[0]?.files
  t.match(files, [
    { name: 'https-127.0.0.1:5001-ca.crt', mode: 0o644 },
    { name: 'hosts.toml', mode: 0o600 }
  ])
  t.equal(directory(fixed)[0]?.files[0]?.mode, 0o644)
})

test('a CA file holds every certificate that was given', async t => {
  const ca = `${makeCa()}\n${makeCa()}`
  t.equal(directory(fixed, { ca })[0]?.files[0]?.text, `${ca.trim()}\n`)
})

test('push is written only when it is an option', async t => {
  const found = render([node], { containerd: 'stock', capabilities: ['pull', 'resolve', 'push'] })
  t.same(found['capabilities'], ['pull', 'resolve', 'push'])
})

for (const [oldest, dial, referrers] of [
  [undefined, false, false],
  ['1.7.34', false, false],
  ['2.0.0', true, false],
  ['v2.1.4', true, false],
  ['2.2.0', true, true],
  ['2.10', true, true],
  ['10.0.0', true, true]
] as const) {
  test(`with containerd ${oldest ?? '(not named)'}: dial_timeout ${dial ? '' : 'not '}written, referrers ${referrers ? '' : 'not '}written`, async t => {
    const options: RenderOptions = { containerd: 'stock', dialTimeout: '1s', capabilities: ['pull', 'resolve', 'referrers'] }
    const found = render([node], oldest === undefined ? options : { ...options, oldest })
    t.same([found['dial_timeout'] === '1s', (found['capabilities'] as string[]).includes('referrers')], [dial, referrers])
  })
}

test('a list of capabilities that would be empty is refused: containerd takes it for all of them', async t => {
  t.throws(() => render([node], { containerd: 'stock', capabilities: ['referrers'] }), /capabilities/)
})

test('stock containerd and a rewrite are refused', async t => {
  t.throws(() => render([{ ...node, rewrites: [{ from: '^a', to: 'b' }] }], { containerd: 'stock' }), /cannot rewrite/)
})

test('the same mirror twice is refused', async t => {
  t.throws(() => render([node, { ...node }], { containerd: 'stock' }), /https:\/\/127\.0\.0\.1:5001.*twice/)
})

test('every other host has the directory _default', async t => {
  t.equal(directory('_default')[0]?.name, '_default')
})

test('a password that cannot be sent is refused by a message without it', async t => {
  t.throws(() => directory(fixed, { auth: { username: 'ro', password: 'secret\n' } }), { message: /password: expected/ })
  try {
    directory(fixed, { auth: { username: 'ro', password: 'secret\n' } })
  } catch (error) {
    t.notMatch((error as Error).message, /secret/)
  }
})
