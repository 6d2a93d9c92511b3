import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { must, run } from './command.ts'
import type { Containerd } from './containerd.ts'
import { containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { users } from './htpasswd.ts'
import type { SampleLayout } from './image.ts'
import { makeSample } from './image.ts'
import { sha256 } from './layout.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Registry } from './registry.ts'
import { freshRegistry, target } from './registry.ts'
import { skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

const rw = `rw:${users.rw.password}`
const ro = `ro:${users.ro.password}`
const reference = `${host}/system/deckhouse:v1`

interface Scene {
  registry: Registry
  sample: SampleLayout
}

/** A registry with TLS and Basic auth that holds an image index. */
async function prepare(t: Test, anonymous: readonly string[] = []): Promise<Scene> {
  const folder = await temporaryFolder(t)
  const registry = await freshRegistry(t, { users, anonymous, pki: await makePki(folder) })
  const sample = await makeSample(join(folder, 'made'))
  const pushed = `docker://${registry.address}/system/deckhouse:v1`
  const source = `oci:${sample.layout.folder}:index`
  await skopeo(['copy', '--all', '--preserve-digests', '--dest-tls-verify=false', '--dest-creds', rw, source, pushed])
  return { registry, sample }
}

function ready(t: Test, version: Containerd, ...more: readonly string[]): boolean {
  return isRoot(t) && hasTools(t, 'skopeo', 'openssl', version.daemon, version.client, ...more)
}

for (const version of [containerd1, containerd2]) {
  test(`${version.title}: ctr pulls over TLS with Basic auth, and every blob arrives whole`, async t => {
    if (!ready(t, version)) return
    const { registry, sample } = await prepare(t)
    const { folder, socket, hosts } = await startContainerd(t, version, registry)
    const ctr = (...args: readonly string[]) => must(version.client, ['--address', socket, ...args])
    const pull = ['images', 'pull', '--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64']
    await ctr(...pull, '--user', ro, reference)
    t.match(await ctr('images', 'ls'), new RegExp(`${host}/system/deckhouse:v1 .*${sample.index.digest}`))
    const store = join(folder, 'root/io.containerd.content.v1.content/blobs')
    for (const digest of [sample.index.digest, sample.image.digest, ...(await contents(sample))]) {
      t.equal(sha256(await readFile(join(store, digest.replace(':', '/')))), digest)
    }
    const wrong = [...pull, '--user', 'ro:other', `${host}/system/deckhouse@${sample.index.digest}`]
    const refused = await run(version.client, ['--address', socket, ...wrong])
    t.not(refused.code, 0, 'a wrong password is refused')
    t.match(refused.stderr, /401|unauthorized|authorization failed/i)
  })

  test(`${version.title}: ctr and crictl pull without credentials where pulls are open beside users`, async t => {
    if (!ready(t, version, 'crictl')) return
    if (target !== 'product') return void t.pass('open pulls', { skip: 'docker-registry has none beside users' })
    const { registry, sample } = await prepare(t, ['pull'])
    const { socket, hosts } = await startContainerd(t, version, registry)
    const pull = ['images', 'pull', '--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64', reference]
    await must(version.client, ['--address', socket, ...pull])
    await must('crictl', [
      '--runtime-endpoint',
      `unix://${socket}`,
      '--timeout',
      '60s',
      'pull',
      `${host}/system/deckhouse@${sample.index.digest}`
    ])
  })

  test(`${version.title}: crictl pulls through the CRI over TLS with Basic auth`, async t => {
    if (!ready(t, version, 'crictl')) return
    const { registry, sample } = await prepare(t)
    const { socket } = await startContainerd(t, version, registry)
    const crictl = (...args: readonly string[]) => must('crictl', ['--runtime-endpoint', `unix://${socket}`, '--timeout', '60s', ...args])
    await crictl('pull', '--creds', ro, reference)
    t.match(JSON.parse(await crictl('images', '-o', 'json')), {
      images: [{ repoTags: [reference], repoDigests: [`${host}/system/deckhouse@${sample.index.digest}`] }]
    })
  })
}

async function contents({ layout, image }: SampleLayout): Promise<string[]> {
  const manifest: { config: { digest: string }; layers: { digest: string }[] } = JSON.parse((await layout.read(image.digest)).toString())
  return [manifest.config, ...manifest.layers].map(({ digest }) => digest)
}
