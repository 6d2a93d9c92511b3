import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import type { RenderOptions } from '../../src/containerd/hosts.ts'
import { renderHosts } from '../../src/containerd/hosts.ts'
import { install, restore } from '../../src/containerd/install.ts'
import type { Mirror } from '../../src/containerd/mirrors.ts'
import { hostsOfMode, replicaMirrors, transition } from '../../src/containerd/mirrors.ts'
import type { Outcome } from './command.ts'
import { must, run } from './command.ts'
import type { Containerd, RunningContainerd } from './containerd.ts'
import { containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import { makePki } from './pki.ts'
import { freePort, temporaryFolder } from './place.ts'
import type { Product, Registry } from './registry.ts'
import { freshRegistry, startProduct } from './registry.ts'
import { ask } from './request.ts'
import { push, skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

const auth = { username: 'ro', password: users.ro.password }
const reference = `${host}/system/deckhouse:v1`

interface Scene {
  registry: Registry
  mirror: Mirror
  digest: string
}

/** A registry with TLS and Basic auth that holds an image, and how a node reaches it. */
async function prepare(t: Test): Promise<Scene> {
  const folder = await temporaryFolder(t)
  const pki = await makePki(folder)
  const registry = await freshRegistry(t, { users, pki })
  const { layout, image } = await makeSingle(join(folder, 'made'))
  const target = `docker://${registry.address}/system/deckhouse:v1`
  await skopeo(['copy', '--dest-tls-verify=false', '--dest-creds', `rw:${users.rw.password}`, `oci:${layout.folder}:image`, target])
  const mirror: Mirror = { host: registry.address, scheme: 'https', ca: await readFile(pki.ca, 'utf8'), auth }
  return { registry, mirror, digest: image.digest }
}

function ready(t: Test, version: Containerd, ...more: readonly string[]): boolean {
  return isRoot(t) && hasTools(t, 'skopeo', 'openssl', version.daemon, version.client, ...more)
}

// The progress display of ctr, which is asked to end while it looks at what has been pulled.
const lateProgress = /^time=\S+ level=error msg="failed to get content info" error="context canceled"\n/gm

/** Pulls without any credential of its own. */
function pull(version: Containerd, { socket, hosts }: RunningContainerd, wanted: string): Promise<Outcome> {
  const options = ['--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64']
  return run(version.client, ['--address', socket, 'images', 'pull', ...options, wanted])
}

const golden = join(import.meta.dirname, '../src/containerd/golden')
const goldenBasic = Buffer.from('node:p"\'\\]#= {}$(reboot)').toString('base64')

/** Writes a golden file as it stands there, but for the addresses and the password, and the CA files that it names. */
async function writeGolden(
  containerd: Containerd & RunningContainerd,
  name: string,
  { ca = '' }: Mirror,
  addresses: Record<string, string>
) {
  let text = (await readFile(join(golden, name), 'utf8')).replaceAll(goldenBasic, Buffer.from(`ro:${auth.password}`).toString('base64'))
  for (const [golden, real] of Object.entries(addresses)) text = text.replaceAll(golden, real)
  // Which containerd 1.6 rejects: a file for it is rendered without.
  if (containerd.title === containerd1.title) text = text.replaceAll('dial_timeout = "1s"\n', '')
  for (const real of Object.values(addresses)) await writeFile(join(containerd.hosts, host, `https-${real}-ca.crt`), ca)
  await writeFile(join(containerd.hosts, host, 'hosts.toml'), text)
}

/** Requests for manifests and blobs so far. */
async function pulls({ admin }: Product): Promise<number> {
  const text = (await ask({ address: admin }, { path: '/metrics' })).body.toString()
  const counted = text.matchAll(/^registry_http_requests_total\{(?=[^}]*route="(?:manifest|blob)")[^}]*\} (\d+)$/gm)
  return [...counted].reduce((total, [, value]) => total + Number(value), 0)
}

for (const version of [containerd1, containerd2]) {
  const stock: RenderOptions = { containerd: 'stock', oldest: version === containerd1 ? '1.6' : '2.1', dialTimeout: '1s' }

  for (const leaving of ['refused', 'allowed'] as const) {
    test(`${version.title}: a pull needs nothing but the rendered files, with leaving ${leaving}`, async t => {
      if (!ready(t, version)) return
      const { registry, mirror, digest } = await prepare(t)
      const containerd = await startContainerd(t, version, registry)
      const hosts = hostsOfMode({ mode: 'Proxy', containerd: 'stock', registry: mirror })
      await install(renderHosts(hosts, { ...stock, leaving }), { root: containerd.hosts })
      const { code, stderr } = await pull(version, containerd, reference)
      t.strictSame({ code, stderr: stderr.replace(lateProgress, '') }, { code: 0, stderr: '' })
      t.match(await must(version.client, ['--address', containerd.socket, 'images', 'ls']), new RegExp(`${reference} .*${digest}`))
    })
  }

  test(`${version.title}: in a transition the new mirror serves when the old one is gone`, async t => {
    if (!ready(t, version)) return
    const { registry, mirror } = await prepare(t)
    const containerd = await startContainerd(t, version, registry)
    const of = (node: Mirror) => hostsOfMode({ mode: 'Local', containerd: 'stock', registry: node })
    const old = of({ ...mirror, host: `127.0.0.1:${await freePort()}` })
    await install(renderHosts(old, stock), { root: containerd.hosts })
    t.not((await pull(version, containerd, reference)).code, 0, 'the old mirror alone does not serve')
    await install(renderHosts(transition(old, of(mirror)), stock), { root: containerd.hosts })
    t.match(await pull(version, containerd, reference), { code: 0 })
  })

  test(`${version.title}: the golden file of a node with an agent is read, and leads to the agent alone`, async t => {
    if (!ready(t, version)) return
    const { registry, mirror, digest } = await prepare(t)
    const containerd = await startContainerd(t, version, registry)
    await writeGolden({ ...version, ...containerd }, 'agent.toml', mirror, { '127.0.0.1:5001': registry.address })
    t.match(await pull(version, containerd, reference), { code: 0 })
    t.match(await must(version.client, ['--address', containerd.socket, 'images', 'ls']), new RegExp(`${reference} .*${digest}`))
  })

  test(`${version.title}: the golden file without an agent is read, and each of its replicas serves when the others are gone`, async t => {
    if (!ready(t, version)) return
    const { registry, mirror } = await prepare(t)
    const [one, two] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    for (const [first, second, third] of [
      [registry.address, one, two],
      [one, registry.address, two],
      [one, two, registry.address]
    ] as const) {
      const containerd = await startContainerd(t, version, registry)
      const addresses = { '10.0.0.1:5001': second, '10.0.0.2:5001': first, '[fd00::3]:5001': third }
      await writeGolden({ ...version, ...containerd }, 'replicas.toml', mirror, addresses)
      t.match(await pull(version, containerd, reference), { code: 0 })
      await containerd.stop()
    }
  })

  test(`${version.title}: the local replica is asked, and another one only for what it lacks`, async t => {
    if (!ready(t, version)) return
    const [local, other] = [
      await startProduct(t, { root: await temporaryFolder(t) }),
      await startProduct(t, { root: await temporaryFolder(t) })
    ]
    for (const [registry, tag] of [
      [local, 'everywhere'],
      [other, 'everywhere'],
      [other, 'there']
    ] as const) {
      const { layout } = await makeSingle(join(await temporaryFolder(t), 'made'))
      await push(registry, { layout, tag: 'image', to: `system/deckhouse:${tag}` })
    }
    const containerd = await startContainerd(t, version, local)
    const mirrors = replicaMirrors([{ address: `http://${other.address}` }, { address: `http://${local.address}`, local: true }])
    await install(renderHosts([{ host, mirrors }], stock), { root: containerd.hosts })
    const before = await pulls(other)
    t.match(await pull(version, containerd, `${host}/system/deckhouse:everywhere`), { code: 0 })
    t.equal(await pulls(other), before)
    t.match(await pull(version, containerd, `${host}/system/deckhouse:there`), { code: 0 })
    t.ok((await pulls(other)) > before)
  })

  test(`${version.title}: crictl pulls without credentials of its own`, async t => {
    if (!ready(t, version, 'crictl')) return
    const { registry, mirror } = await prepare(t)
    const containerd = await startContainerd(t, version, registry)
    const hosts = hostsOfMode({ mode: 'Local', containerd: 'stock', registry: mirror })
    await install(renderHosts(hosts, stock), { root: containerd.hosts })
    await must('crictl', ['--runtime-endpoint', `unix://${containerd.socket}`, '--timeout', '60s', 'pull', reference])
  })

  test(`${version.title}: an image that the mirror lacks comes from the reference's own host only where leaving is allowed`, async t => {
    if (!ready(t, version)) return
    const { layout } = await makeSingle(join(await temporaryFolder(t), 'made'))
    const [own, empty] = [await freshRegistry(t), await freshRegistry(t)]
    await push(own, { layout, tag: 'image', to: 'app:v1' })
    const containerd = await startContainerd(t, version, own)
    const hosts = [{ host: own.address, mirrors: [{ host: empty.address, scheme: 'http' } as const] }]
    await install(renderHosts(hosts, stock), { root: containerd.hosts })
    t.not((await pull(version, containerd, `${own.address}/app:v1`)).code, 0)
    await install(renderHosts(hosts, { ...stock, leaving: 'allowed' }), { root: containerd.hosts })
    const plain = [
      '--address',
      containerd.socket,
      'images',
      'pull',
      '--plain-http',
      '--hosts-dir',
      containerd.hosts,
      '--snapshotter',
      'native'
    ]
    await must(version.client, [...plain, '--platform', 'linux/amd64', `${own.address}/app:v1`])
  })

  test(`${version.title}: after restore the node pulls as it did before`, async t => {
    if (!ready(t, version)) return
    const { registry, mirror } = await prepare(t)
    const containerd = await startContainerd(t, version, registry)
    const path = join(containerd.hosts, host, 'hosts.toml')
    // A node that was set up by hand, with the header in its own file.
    const before = `${await readFile(path, 'utf8')}[host."https://${registry.address}".header]\n  Authorization = "Basic ${Buffer.from(`ro:${auth.password}`).toString('base64')}"\n`
    await writeFile(path, before)
    const dead = hostsOfMode({ mode: 'Local', containerd: 'stock', registry: { ...mirror, host: `127.0.0.1:${await freePort()}` } })
    await install(renderHosts(dead, stock), { root: containerd.hosts })
    t.not((await pull(version, containerd, reference)).code, 0)
    await restore({ root: containerd.hosts })
    t.equal(await readFile(path, 'utf8'), before)
    t.match(await pull(version, containerd, reference), { code: 0 })
  })
}
