// The report: the image was pushed, pulled and started in a chroot, and no container runtime had ever run it.
import { join } from 'node:path'
import { test } from 'tap'
import { host as registryName } from '../e2e/containerd.ts'
import { makeSingle } from '../e2e/image.ts'
import { temporaryFolder } from '../e2e/place.ts'
import { ask } from '../e2e/request.ts'
import { skopeo } from '../e2e/skopeo.ts'
import { until } from '../src/support.ts'
import { containerd1, containerd2, HostContainerd, hasContainerd } from './containerd.ts'
import { Host } from './host.ts'
import { ownImage, ownUser } from './images.ts'
import { startPod } from './pods.ts'
import { addressOf, configureServe, places, serveArguments } from './registry.ts'

for (const version of [containerd1, containerd2]) {
  test(`image: ${version.title} runs it as a pod with a read-only root and without root, and pulls from it`, async t => {
    if (!hasContainerd(t, version, 'skopeo')) return
    const host = await Host.start(t, { name: 'master', number: 11 })
    const containerd = await HostContainerd.start(host, version)
    await containerd.importOwnImage()
    // Debian's version knows no pinned images, and says of each that it is none.
    t.match(await containerd.image(ownImage.reference), { repoTags: [ownImage.listed], pinned: version === containerd2 })

    await configureServe(host)
    const { container } = await startPod(containerd, {
      name: 'registry',
      args: serveArguments,
      mounts: [{ path: places.config }, { path: places.data, writable: true }]
    })
    const address = addressOf(host)
    await until(async () => (await ask({ address }, { path: '/v2/' }).catch(() => undefined))?.status === 200)

    const inside = (script: string) => containerd.crictl('exec', container, '/usr/local/bin/node', '--eval', script)
    t.equal(await inside('process.stdout.write(String(process.getuid()))'), String(ownUser))
    const written = "try { fs.writeFileSync('/tmp/file', '') } catch (error) { process.stdout.write(error.code) }"
    t.equal(await inside(written), 'EROFS')

    const { layout, image } = await makeSingle(join(await temporaryFolder(t), 'made'))
    await skopeo([
      'copy',
      '--preserve-digests',
      '--dest-tls-verify=false',
      `oci:${layout.folder}:image`,
      `docker://${address}/system/deckhouse:v1`
    ])
    await containerd.pullFrom('http://127.0.0.1:5001')
    await containerd.crictl('pull', `${registryName}/system/deckhouse:v1`)
    const pulled = await containerd.image(`${registryName}/system/deckhouse:v1`)
    t.strictSame(pulled.repoDigests, [`${registryName}/system/deckhouse@${image.digest}`])

    await containerd.crictl('stop', '--timeout', '30', container)
    const { status } = JSON.parse(await containerd.crictl('inspect', container))
    t.match(status, { state: 'CONTAINER_EXITED', exitCode: 0 }, 'it ends by itself when it is told to')
  })
}
