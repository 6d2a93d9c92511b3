import { test } from 'tap'
import type { Mirror } from '../../../src/containerd/mirrors.ts'
import { hostsOfMode, transition } from '../../../src/containerd/mirrors.ts'
import { fixed } from './scene.ts'

const upstream = { imagesRepo: ' registry.example.com:8443/deckhouse/ee/ ', scheme: 'HTTPS', license: 'token', ca: 'PEM' } as const
const mirror: Mirror = {
  host: 'registry.example.com:8443',
  scheme: 'https',
  ca: 'PEM',
  auth: { username: 'license-token', password: 'token' }
}
const node: Mirror = { host: '127.0.0.1:5001', scheme: 'https' }

test("Unmanaged: the upstream's own host, without a rewrite", async t => {
  t.same(hostsOfMode({ mode: 'Unmanaged', containerd: 'deckhouse', upstream }), [{ host: mirror.host, mirrors: [mirror] }])
})

test("Direct on Deckhouse's containerd: the fixed address leads to the upstream, with the path rewritten", async t => {
  const rewrites = [{ from: '^system/deckhouse', to: 'deckhouse/ee' }]
  t.same(hostsOfMode({ mode: 'Direct', containerd: 'deckhouse', upstream }), [{ host: fixed, mirrors: [{ ...mirror, rewrites }] }])
})

test('Direct on stock containerd: the fixed address leads to the registry on the node, and no upstream credential with it', async t => {
  t.same(hostsOfMode({ mode: 'Direct', containerd: 'stock', upstream }), [{ host: fixed, mirrors: [node] }])
})

for (const mode of ['Proxy', 'Local'] as const) {
  for (const containerd of ['stock', 'deckhouse'] as const) {
    test(`${mode} on ${containerd}: the fixed address leads to the registry on the node with its CA and credentials`, async t => {
      const registry = { ca: 'PEM', auth: { username: 'ro', password: 'secret' } }
      t.same(hostsOfMode({ mode, containerd, registry }), [{ host: fixed, mirrors: [{ ...node, ...registry }] }])
    })
  }
}

test('an upstream without a path is rewritten to none', async t => {
  const [found] = hostsOfMode({ mode: 'Direct', containerd: 'deckhouse', upstream: { imagesRepo: 'r', scheme: 'HTTP' } })
  t.same(found?.mirrors, [{ host: 'r', scheme: 'http', rewrites: [{ from: '^system/deckhouse', to: '' }] }])
})

test('user and password of the upstream are kept', async t => {
  const [found] = hostsOfMode({ mode: 'Unmanaged', containerd: 'stock', upstream: { imagesRepo: 'r', username: 'u', password: 'p' } })
  t.same(found?.mirrors[0]?.auth, { username: 'u', password: 'p' })
})

for (const imagesRepo of ['../../../etc/cron.d/x', 'r:0/a', 'r:99999/a', 'r/../a', 'r/a b', 'r/a\nb', '', '/a']) {
  test(`imagesRepo ${JSON.stringify(imagesRepo)} is refused`, async t => {
    t.throws(() => hostsOfMode({ mode: 'Direct', containerd: 'deckhouse', upstream: { imagesRepo } }), /upstream\.imagesRepo/)
  })
}

test('a mode that needs an upstream says so', async t => {
  t.throws(() => hostsOfMode({ mode: 'Unmanaged', containerd: 'stock' }), /upstream: expected in mode Unmanaged/)
})

test('transition between managed modes: one host, the old mirror first', async t => {
  const found = transition([{ host: fixed, mirrors: [mirror] }], [{ host: fixed, mirrors: [node] }])
  t.same(found, [{ host: fixed, mirrors: [mirror, node] }])
})

test('transition from Unmanaged: both hosts', async t => {
  const old = { host: mirror.host, mirrors: [mirror] }
  const next = { host: fixed, mirrors: [node] }
  t.same(transition([old], [next]), [old, next])
})

test('transition on the same mirror: the new one in the place of the old', async t => {
  const changed = { ...node, auth: { username: 'ro', password: 'new' } }
  const found = transition(
    [{ host: fixed, mirrors: [{ ...node, auth: { username: 'ro', password: 'old' } }, mirror] }],
    [{ host: fixed, mirrors: [changed] }]
  )
  t.same(found, [{ host: fixed, mirrors: [changed, mirror] }])
})
