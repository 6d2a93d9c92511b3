import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { must, run } from './command.ts'
import { containerd1, containerd2, startContainerd } from './containerd.ts'
import { startDaemon } from './daemon.ts'
import { type Program, startDistribution } from './distribution.ts'
import { addImage, addIndex, makeSample } from './image.ts'
import { type Descriptor, Layout, sha256 } from './layout.ts'
import { freePort, temporaryFolder } from './place.ts'
import { freshRegistry, type Registry } from './registry.ts'
import { ask } from './request.ts'
import { skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

const mirror = (args: readonly string[], limit = 120_000) =>
  run(process.execPath, ['src/main.ts', 'mirror', ...args], { limit, env: { NODE_OPTIONS: '' } })

async function mirrored(...args: readonly string[]): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await mirror(args)
  if (code !== 0) throw new Error(`mirror ${args.join(' ')}: exit code ${code}\n${stdout}${stderr}`)
  return stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line))
}

interface Made {
  /** Of the archives. */
  place: string
  images: { path: string; tag: string; descriptor: Descriptor; layout: Layout }[]
}

/** A bundle of real images as d8 writes it, packed by GNU tar: one image, one index, and a module. */
async function makeBundle(t: Test): Promise<Made> {
  const folder = await temporaryFolder(t)
  const [tree, place] = [join(folder, 'tree'), join(folder, 'bundle')]
  mkdirSync(place)
  const images: Made['images'] = []
  const add = async (path: string, tags: (layout: Layout) => Promise<Record<string, Descriptor>>) => {
    const at = join(tree, path)
    await mkdir(at, { recursive: true })
    const layout = await Layout.create(at)
    const named = await tags(layout)
    const manifests = Object.entries(named).map(([tag, { platform: _, ...descriptor }]) => {
      images.push({ path, tag, descriptor, layout })
      const names = { 'org.opencontainers.image.ref.name': `registry.test/ee/${path}:${tag}`, 'io.deckhouse.image.short_tag': tag }
      return { ...descriptor, annotations: names }
    })
    const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.layout.v1+json', manifests }
    writeFileSync(join(at, 'index.json'), JSON.stringify(index))
  }
  await add('', async layout => ({ 'v1.70.0': await addImage(layout, 'amd64') }))
  await add('install', async layout => ({
    all: await addIndex(layout, [await addImage(layout, 'amd64'), await addImage(layout, 'arm64')])
  }))
  await add(`modules/${'long-name-'.repeat(8)}module/release`, async layout => ({ stable: await addImage(layout, 'amd64') }))
  const pack = (archive: string, ...what: string[]) =>
    execFileSync('tar', [
      '--format=gnu',
      '--mode=0777',
      '--mtime=@0',
      '--owner=0',
      '--group=0',
      '-cf',
      join(place, archive),
      '-C',
      tree,
      ...what
    ])
  pack('platform.tar', 'blobs', 'index.json', 'oci-layout', 'install')
  pack('module-long.tar', 'modules')
  execFileSync('split', ['-b', '2000000', '-d', '-a', '4', '--additional-suffix=.chunk', 'platform.tar', 'platform.tar.'], { cwd: place })
  execFileSync('rm', ['platform.tar'], { cwd: place })
  return { place, images }
}

const nameOf = (path: string) => ['system/deckhouse', path].filter(Boolean).join('/')

async function arrived(t: Test, { address }: Pick<Registry, 'address'>, { images }: Made): Promise<void> {
  const folder = await temporaryFolder(t)
  for (const [at, { path, tag, layout, descriptor }] of images.entries()) {
    const into = join(folder, `${at}`)
    await mkdir(into)
    await skopeo([
      'copy',
      '--all',
      '--preserve-digests',
      '--src-tls-verify=false',
      `docker://${address}/${nameOf(path)}:${tag}`,
      `oci:${into}:pulled`
    ])
    const pulled = Layout.open(into)
    t.same(await pulled.digests(), await layout.digests(), `${path}:${tag}`)
    t.same(await pulled.damaged(), [])
    t.ok((await pulled.digests()).includes(descriptor.digest))
  }
}

async function served(t: Test, place: string): Promise<{ address: string }> {
  const address = `127.0.0.1:${await freePort()}`
  const daemon = await startDaemon({
    command: process.execPath,
    args: ['src/main.ts', 'mirror', 'serve', place, '--listen', address],
    env: { NODE_OPTIONS: '' },
    probe: async () => void (await ask({ address }, { path: '/v2/' }))
  })
  t.teardown(async () => void (await daemon.stop()))
  return { address }
}

for (const program of ['ours', 'docker-registry', 'distribution3'] satisfies (Program | 'ours')[]) {
  test(`mirror: a bundle that GNU tar packed is pushed into ${program}, pulled from there, and pushed again`, async t => {
    if (!hasTools(t, 'skopeo', ...(program === 'ours' ? [] : [program]))) return
    const made = await makeBundle(t)
    const start = () => (program === 'ours' ? freshRegistry(t) : temporaryFolder(t).then(root => startDistribution(t, { root, program })))
    const [first, second] = [await start(), await start()]
    const to = (registry: Registry) => ['--to', `${registry.address}/system/deckhouse`, '--insecure']
    t.match((await mirrored('push', made.place, ...to(first))).at(-1), { type: 'done', pushed: 4, failed: 0, missing: 0 })
    await arrived(t, first, made)
    t.match((await mirrored('push', made.place, ...to(first))).at(-1), { present: 4, sentBytes: 0 })
    await mirrored('diff', made.place, `${first.address}/system/deckhouse`, '--insecure')
    const pulled = join(await temporaryFolder(t), 'pulled')
    const list = made.images.map(({ path, tag }) => `${path}:${tag}`)
    await mirrored('pull', ...list, '--from', `${first.address}/system/deckhouse`, '--insecure', '--output', pulled, '--chunk-size', '3MiB')
    t.match((await mirrored('verify', pulled)).at(-1), { images: 3, faults: 0 })
    await mirrored('push', pulled, ...to(second))
    await arrived(t, second, made)
  })
}

test('mirror: what is pulled is what a client of OCI layouts reads after GNU tar has unpacked it', async t => {
  if (!hasTools(t, 'skopeo', 'crane')) return
  const folder = await temporaryFolder(t)
  const registry = await freshRegistry(t)
  const { layout, image } = await makeSample(join(folder, 'made'))
  await skopeo([
    'copy',
    '--preserve-digests',
    '--dest-tls-verify=false',
    `oci:${layout.folder}:image`,
    `docker://${registry.address}/ee/install:v1`
  ])
  const pulled = join(folder, 'pulled')
  await mirrored('pull', 'install:v1', '--from', `${registry.address}/ee`, '--insecure', '--output', pulled)
  execFileSync('tar', ['-xf', join(pulled, 'platform.tar'), '-C', folder])
  const unpacked = Layout.open(join(folder, 'install'))
  t.same(await unpacked.damaged(), [])
  // The library of crane is that of d8.
  await must('crane', ['push', join(folder, 'install'), `${registry.address}/again/install:v1`], { env: { DOCKER_CONFIG: folder } })
  t.equal(
    (await must('crane', ['digest', `${registry.address}/again/install:v1`], { env: { DOCKER_CONFIG: folder } })).trim(),
    image.digest
  )
})

test('mirror serve: skopeo and crane copy every image from it, whole', async t => {
  if (!hasTools(t, 'skopeo', 'crane')) return
  const made = await makeBundle(t)
  const registry = await served(t, made.place)
  await arrived(t, registry, made)
  const folder = await temporaryFolder(t)
  for (const { path, tag } of made.images)
    await must('crane', ['validate', '--remote', `${registry.address}/${nameOf(path)}:${tag}`], { env: { DOCKER_CONFIG: folder } })
})

for (const version of [containerd1, containerd2]) {
  test(`mirror serve: ${version.title} pulls from it`, async t => {
    if (!isRoot(t) || !hasTools(t, version.daemon, version.client)) return
    const made = await makeBundle(t)
    const { address } = await served(t, made.place)
    const { folder, socket, hosts } = await startContainerd(t, version, { address } as Registry)
    const ctr = (...args: readonly string[]) => must(version.client, ['--address', socket, ...args])
    for (const { path, tag, descriptor } of made.images) {
      await ctr(
        'images',
        'pull',
        '--hosts-dir',
        hosts,
        '--plain-http',
        '--snapshotter',
        'native',
        '--platform',
        'linux/amd64',
        `${address}/${nameOf(path)}:${tag}`
      )
      const stored = join(folder, 'root/io.containerd.content.v1.content/blobs', descriptor.digest.replace(':', '/'))
      t.equal(sha256(await readFile(stored)), descriptor.digest, `${path}:${tag}`)
    }
  })
}
