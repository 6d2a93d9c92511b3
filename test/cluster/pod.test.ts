// The report: the image was pushed, pulled and started in a chroot, and no container runtime had ever run it.
import { join } from 'node:path'
import type { Test } from 'tap'
import tap, { test } from 'tap'
import { host as registryName } from '../e2e/containerd.ts'
import { makeSingle } from '../e2e/image.ts'
import { temporaryFolder } from '../e2e/place.ts'
import { ask } from '../e2e/request.ts'
import { skopeo } from '../e2e/skopeo.ts'
import { until } from '../src/support.ts'
import type { ContainerdVersion } from './containerd.ts'
import { containerd1, containerd2, HostContainerd, hasContainerd } from './containerd.ts'
import { Host } from './host.ts'
import { ownImage, ownUser } from './images.ts'
import type { Pod, PodOptions } from './pods.ts'
import { startPod } from './pods.ts'
import { addressOf, agentPlaces, configureAgent, configureServe, places, ports, serveArguments } from './registry.ts'

const timeout = 600_000
tap.setTimeout(timeout)

const serve: PodOptions = {
  name: 'registry',
  args: serveArguments,
  mounts: [{ path: places.config }, { path: places.data, writable: true }],
  memory: 512 << 20
}
const agent: PodOptions = {
  name: 'registry-agent',
  args: ['agent', '--config', agentPlaces.file, '--last-good', agentPlaces.lastGood],
  mounts: [{ path: agentPlaces.config }, { path: agentPlaces.state, writable: true }],
  memory: 128 << 20
}

/** A host with containerd and the registry's image. */
async function startHost(t: Test, version: ContainerdVersion, name: string, number: number): Promise<HostContainerd> {
  const containerd = await HostContainerd.start(await Host.start(t, { name, number }), version)
  await containerd.importOwnImage()
  return containerd
}

/** A host on which the registry serves as a pod, to all. */
async function startServe(t: Test, version: ContainerdVersion): Promise<{ containerd: HostContainerd; address: string; pod: Pod }> {
  const containerd = await startHost(t, version, 'master', 11)
  await configureServe(containerd.host)
  const pod = await startPod(containerd, serve)
  const address = addressOf(containerd.host)
  await until(async () => (await ask({ address }, { path: '/v2/' }).catch(() => undefined))?.status === 200)
  return { containerd, address, pod }
}

/** Pushes an image of random bytes; its digest. */
async function pushTo(t: Test, address: string): Promise<string> {
  const { layout, image } = await makeSingle(join(await temporaryFolder(t), 'made'))
  const source = `oci:${layout.folder}:image`
  await skopeo(['copy', '--preserve-digests', '--dest-tls-verify=false', source, `docker://${address}/system/deckhouse:v1`])
  return image.digest
}

/** Pulls that image by the fixed name and a hosts file that leads to `url`; its digest as containerd has it. */
async function pull(containerd: HostContainerd, url: string): Promise<string | undefined> {
  await containerd.pullFrom(url)
  await containerd.crictl('pull', `${registryName}/system/deckhouse:v1`)
  const { repoDigests } = await containerd.image(`${registryName}/system/deckhouse:v1`)
  return repoDigests[0]?.split('@')[1]
}

/** The container is of the user of the image, has nothing to write to, and ends by itself when it is told to. */
async function confined(t: Test, containerd: HostContainerd, { container }: Pod): Promise<void> {
  const inside = (script: string) => containerd.crictl('exec', container, '/usr/local/bin/node', '--eval', script)
  t.equal(await inside('process.stdout.write(String(process.getuid()))'), String(ownUser))
  t.equal(await inside("try { fs.writeFileSync('/tmp/file', '') } catch (error) { process.stdout.write(error.code) }"), 'EROFS')
  await containerd.crictl('stop', '--timeout', '30', container)
  const { status } = JSON.parse(await containerd.crictl('inspect', container))
  t.match(status, { state: 'CONTAINER_EXITED', exitCode: 0 })
}

for (const version of [containerd1, containerd2]) {
  test(`image: ${version.title} runs it as a pod with a read-only root and without root, and pulls from it`, { timeout }, async t => {
    if (!hasContainerd(t, version, 'skopeo')) return
    const { containerd, address, pod } = await startServe(t, version)
    // Debian's version knows no pinned images, and says of each that it is none.
    t.match(await containerd.image(ownImage.reference), { repoTags: [ownImage.reference], pinned: version === containerd2 })
    const digest = await pushTo(t, address)
    t.equal(await pull(containerd, `http://127.0.0.1:${ports.registry}`), digest)
    await confined(t, containerd, pod)
  })
}

test('image: as the agent of a node it fits into 128 MiB, and containerd pulls through it', { timeout }, async t => {
  if (!hasContainerd(t, containerd2, 'skopeo')) return
  const { address } = await startServe(t, containerd2)
  const digest = await pushTo(t, address)
  const worker = await startHost(t, containerd2, 'worker', 21)
  await configureAgent(worker.host, [{ replicas: [{ address }], scheme: 'HTTP' }])
  const pod = await startPod(worker, agent)
  await until(() => worker.host.run('curl', ['-sf', `http://127.0.0.1:${ports.agentAdmin}/readyz`]).catch(() => undefined))
  t.equal(await pull(worker, `http://127.0.0.1:${ports.registry}`), digest)
  t.match(await worker.host.run('cat', [agentPlaces.lastGood]), address, 'it keeps its configuration for the next start')
  await confined(t, worker, pod)
})
