import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import type { RenderOptions } from '../../src/containerd/hosts.ts'
import { renderHosts } from '../../src/containerd/hosts.ts'
import { install, restore } from '../../src/containerd/install.ts'
import type { Mirror } from '../../src/containerd/mirrors.ts'
import { hostsOfMode, transition } from '../../src/containerd/mirrors.ts'
import type { Outcome } from './command.ts'
import { must, run } from './command.ts'
import type { Containerd, RunningContainerd } from './containerd.ts'
import { containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import { makePki } from './pki.ts'
import { freePort, temporaryFolder } from './place.ts'
import type { Registry } from './registry.ts'
import { freshRegistry } from './registry.ts'
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
