// The registry as it runs in a cluster: its image imported on a control-plane node, started from a manifest by a kubelet,
// pulled from by containerd of that node and of another one. Then what may happen to a node: its containerd and its
// kubelet are killed, and its power is cut while the API server has fallen silent.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import tap, { test } from 'tap'
import { host as registryName } from '../e2e/containerd.ts'
import { makeSingle } from '../e2e/image.ts'
import { temporaryFolder } from '../e2e/place.ts'
import { ask } from '../e2e/request.ts'
import { skopeo } from '../e2e/skopeo.ts'
import { hasTools } from '../e2e/tool.ts'
import { until } from '../src/support.ts'
import type { ApiObject } from './api.ts'
import { containerd2, hasContainerd } from './containerd.ts'
import { ControlPlane, controlPlaneTools } from './control-plane.ts'
import { isReady } from './kubelet.ts'
import { startNode } from './node.ts'
import { addressOf, configureServe } from './registry.ts'
import { staticPod, writeServePod } from './static-pod.ts'

// Seconds on an idle machine; beside other work a first start of an API server has taken a minute.
const timeout = 900_000
tap.setTimeout(timeout)

const ofMachine = ['vm/overcommit_memory', 'vm/panic_on_oom', 'kernel/panic', 'kernel/panic_on_oops']
const settings = () => Promise.all(ofMachine.map(each => readFile(join('/proc/sys', each), 'utf8')))

test('static pod: a kubelet runs the registry, two nodes pull from it, and it outlives containerd, the kubelet and a power cut', {
  timeout
}, async t => {
  if (!hasContainerd(t, containerd2, 'skopeo') || !hasTools(t, ...controlPlaneTools.api, 'kubelet')) return
  const before = await settings()
  const controlPlane = await ControlPlane.start(t)
  await controlPlane.admin.apply('/api/v1/namespaces/d8-system', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'd8-system' } })
  const master = await startNode(t, controlPlane, { name: 'master', number: 11, role: 'control-plane' })
  const worker = await startNode(t, controlPlane, { name: 'worker', number: 21 })

  const address = addressOf(master.host)
  const answers = async () => (await ask({ address }, { path: '/v2/' }).catch(() => undefined))?.status === 200
  const mirror = () => controlPlane.admin.find(`/api/v1/namespaces/d8-system/pods/${staticPod.name}-${master.host.name}`)
  const container = (pod: ApiObject) => pod.status.containerStatuses[0]
  await master.containerd.importOwnImage()
  await configureServe(master.host)
  await writeServePod(master.host)
  await until(async () => isReady(await mirror()))
  const first = container(await mirror())

  const folder = await temporaryFolder(t)
  await master.containerd.pullFrom('http://127.0.0.1:5001')
  await worker.containerd.pullFrom(`http://${address}`)
  const pulledBy = async (name: string) => {
    const { layout, image } = await makeSingle(join(folder, name))
    const reference = `system/deckhouse/${name}:v1`
    await skopeo([
      'copy',
      '--preserve-digests',
      '--dest-tls-verify=false',
      `oci:${layout.folder}:image`,
      `docker://${address}/${reference}`
    ])
    for (const { host, containerd } of [master, worker]) {
      await containerd.crictl('pull', `${registryName}/${reference}`)
      const pulled = await containerd.image(`${registryName}/${reference}`)
      t.match(pulled.repoDigests[0], image.digest, `${host.name} has ${name}`)
    }
  }
  await pulledBy('first')

  await master.containerd.stop('SIGKILL')
  await master.kubelet.stop('SIGKILL')
  t.ok(await answers(), 'it serves while neither containerd nor the kubelet is there')
  await master.containerd.run()
  await master.kubelet.run()
  await pulledBy('second')
  await until(async () => isReady(await mirror()))
  t.match(container(await mirror()), { containerID: first.containerID, restartCount: 0 }, 'the same container goes on')

  controlPlane.freeze('frozen')
  await master.host.powerOff()
  await master.host.powerOn()
  await master.containerd.run()
  await master.kubelet.run()
  await until(answers)
  await pulledBy('third')
  const old = await ask({ address }, { method: 'HEAD', path: '/v2/system/deckhouse/first/manifests/v1' })
  t.equal(old.status, 200, 'what was pushed before the power cut is there')
  controlPlane.freeze('thawed')
  await until(async () => isReady(await mirror()) && container(await mirror()).containerID !== first.containerID)
  t.strictSame(await settings(), before, 'a kubelet has changed nothing of this machine')
})
