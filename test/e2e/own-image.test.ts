// The image is made without a container engine, by `npm run image`.
import { chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { test } from 'tap'
import { stringify } from 'yaml'
import { readRunConfig } from '../../build/image/dockerfile.ts'
import { writeImage } from '../../build/image/image.ts'
import pkg from '../../package.json' with { type: 'json' }
import { startDaemon } from './daemon.ts'
import { unpackImage } from './image.ts'
import { Layout } from './layout.ts'
import { freePort, temporaryFolder } from './place.ts'
import { freshRegistry } from './registry.ts'
import { ask } from './request.ts'
import { pull, skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

const modified = new Date('2026-01-02T03:04:05Z')
const maxBytes = 60 * 1024 * 1024
// Names of shells and package managers.
const tools = /\/(?:sh|bash|dash|busybox|npm|npx|corepack|apt|dpkg|apk)$/

interface Config {
  config: { User: string; Env: string[]; WorkingDir: string; Entrypoint: string[]; Cmd: string[]; Labels: Record<string, string> }
}

// Compressing Node takes seconds: all tests look at the same two builds.
const work = await mkdtemp(join(tmpdir(), 'registry-image-'))
tap.teardown(() => rm(work, { recursive: true, force: true }))
const builds = [join(work, 'one'), join(work, 'two')] as const
const [first, second] = [await writeImage(builds[0], { modified }), await writeImage(builds[1], { modified })]
const { digest } = first
const layout = Layout.open(join(builds[0], 'layout'))

test('image: two builds have one digest, and less than 60 MiB', async t => {
  t.strictSame(first, second)
  t.ok(first.size <= maxBytes, `${first.size} bytes`)
  for (const name of ['image.tar', 'layout/index.json']) {
    t.equal(Buffer.compare(await readFile(join(builds[0], name)), await readFile(join(builds[1], name))), 0, name)
  }
  t.strictSame(await layout.damaged(), [])
  const { manifests } = JSON.parse(await readFile(join(layout.folder, 'index.json'), 'utf8'))
  t.match(manifests, [{ digest: first.digest }, { artifactType: 'application/vnd.cyclonedx+json' }])
  const referrer = JSON.parse(String(await layout.read(manifests[1].digest)))
  t.match(referrer, { artifactType: 'application/vnd.cyclonedx+json', subject: { digest: first.digest } })
  const sbom = JSON.parse(String(await layout.read(referrer.layers[0].digest)))
  t.equal(sbom.bomFormat, 'CycloneDX')
  t.ok(
    sbom.components.some(({ name }: { name: string }) => name === 'fastify'),
    'it names what is in the program'
  )
})

test('image: it is pushed to the registry that runs from it, and pulled again', async t => {
  if (!hasTools(t, 'skopeo') || !isRoot(t)) return
  const folder = await temporaryFolder(t)
  const manifest = JSON.parse(String(await layout.read(digest)))
  const { config }: Config = JSON.parse(String(await layout.read(manifest.config.digest)))
  t.equal(config.Labels['io.cri-containerd.pinned'], 'pinned')
  t.match(config, readRunConfig(await readFile('Dockerfile', 'utf8')), 'it starts as the image of the Dockerfile does')

  const root = join(folder, 'root')
  await unpackImage(layout, digest, root)
  t.strictSame(
    (await readdir(root, { recursive: true })).filter(each => tools.test(`/${each}`)),
    [],
    'no shell, no package manager'
  )

  const [user = 0] = config.User.split(':').map(Number)
  const address = `127.0.0.1:${await freePort()}`
  await mkdir(join(root, 'data'))
  await chown(join(root, 'data'), user, user)
  const settings = {
    registry: { mode: 'Local' },
    server: { listen: address, admin: '127.0.0.1:0' },
    storage: { filesystem: { root: '/data' }, reserve: 0, inodeReserve: 0 },
    auth: { anonymous: ['pull', 'push', 'delete'] }
  }
  await writeFile(join(root, 'registry.yaml'), stringify(settings))
  const [node = '', ...args] = config.Entrypoint
  const registry = {
    address,
    ...(await startDaemon({
      // Nothing of this machine is in reach, as in a container.
      command: 'env',
      args: [
        ...['-i', ...config.Env, 'chroot', `--userspec=${config.User}`, root, node],
        ...args.map(each => (each.startsWith('--') ? each : join(config.WorkingDir, each))),
        ...[...config.Cmd, '--config', '/registry.yaml']
      ],
      probe: async () => void (await ask({ address }, { path: '/v2/' }))
    }))
  }
  t.teardown(() => registry.stop())
  const target = `docker://${address}/system/deckhouse/registry:v1`
  await skopeo(['copy', '--preserve-digests', '--dest-tls-verify=false', `oci:${layout.folder}:${pkg.version}`, target])
  const stored = await ask(registry, { method: 'HEAD', path: '/v2/system/deckhouse/registry/manifests/v1' })
  t.equal(stored.headers['docker-content-digest'], digest)
  const pulled = await pull({ ...registry, root }, 'system/deckhouse/registry:v1', folder)
  t.strictSame(await pulled.damaged(), [])
  t.equal(await registry.stop(), 0)
})

test('image: the archive for `docker load` holds the same layers and configuration', async t => {
  if (!hasTools(t, 'skopeo')) return
  const registry = await freshRegistry(t)
  const target = `docker://${registry.address}/from/archive:v1`
  await skopeo(['copy', '--dest-tls-verify=false', `docker-archive:${join(builds[0], 'image.tar')}`, target])
  const answer = await ask(registry, { path: '/v2/from/archive/manifests/v1' })
  const { config } = JSON.parse(String(answer.body))
  t.equal(config.digest, JSON.parse(String(await layout.read(digest))).config.digest)
})
