// The chart was rendered and compared, and never given to an API server. Here it is installed on one, with a kubelet that
// starts its pods; then comes what is done to it over the years: other settings, another Pod, back again, away.
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import tap, { test } from 'tap'
import { must } from '../e2e/command.ts'
import { host as registryName } from '../e2e/containerd.ts'
import { temporaryFolder } from '../e2e/place.ts'
import { ask } from '../e2e/request.ts'
import { skopeo } from '../e2e/skopeo.ts'
import { until } from '../src/support.ts'
import type { ApiObject } from './api.ts'
import { containerd2, hasContainerd } from './containerd.ts'
import { ControlPlane, controlPlaneTools } from './control-plane.ts'
import { writePauseArchive } from './images.ts'
import { isReady } from './kubelet.ts'
import type { Node } from './node.ts'
import { startNode } from './node.ts'
import { addressOf, places } from './registry.ts'

const timeout = 900_000
tap.setTimeout(timeout)

const chart = join(import.meta.dirname, '../../charts/registry')
// The nodes have the image already, under the name that the chart gives it.
const always = { agent: { enabled: true, containerd: { root: '/etc/containerd/certs.d' } } }

/** helm with nothing of this machine, on the release `registry`. */
async function releaseOn(t: Test, controlPlane: ControlPlane) {
  const folder = await temporaryFolder(t)
  const kubeconfig = await controlPlane.kubeconfig('helm', '/O=system:masters/CN=helm')
  const env = { HELM_CACHE_HOME: folder, HELM_CONFIG_HOME: folder, HELM_DATA_HOME: folder }
  const helm = (...args: readonly string[]) =>
    must('helm', [...args, '--namespace', 'd8-system', '--kubeconfig', kubeconfig], { env, limit: timeout })
  const given = async (values: object) => {
    await writeFile(join(folder, 'values.json'), JSON.stringify({ ...always, ...values }))
    return ['registry', chart, '--values', join(folder, 'values.json'), '--wait', '--timeout', '10m']
  }
  return {
    install: async (values: object) => helm('install', '--create-namespace', ...(await given(values))),
    upgrade: async (values: object) => helm('upgrade', ...(await given(values))),
    rollback: (revision: number) => helm('rollback', 'registry', String(revision), '--wait', '--timeout', '10m'),
    uninstall: () => helm('uninstall', 'registry', '--wait', '--timeout', '10m')
  }
}

test('chart: it is installed, upgraded, rolled back and removed on a cluster, and nodes pull through it', { timeout }, async t => {
  const tools = [...controlPlaneTools.api, ...controlPlaneTools.controllers, 'kubelet', 'helm', 'skopeo']
  if (!hasContainerd(t, containerd2, ...tools)) return
  const controlPlane = await ControlPlane.start(t)
  await controlPlane.startControllers(t)
  const master = await startNode(t, controlPlane, { name: 'master', number: 11, role: 'control-plane' })
  const worker = await startNode(t, controlPlane, { name: 'worker', number: 21 })
  await master.containerd.importOwnImage()

  await worker.containerd.importOwnImage()

  const release = await releaseOn(t, controlPlane)
  await release.install({})
  // helm waits for all Pods of a DaemonSet but those that may be unavailable: of one, for none.
  await until(async () => isReady((await podsOf(controlPlane, 'd8-system'))[0]))
  await until(async () => (await podsOf(controlPlane, 'kube-system')).filter(isReady).length === 2)
  const [pod, ...more] = await podsOf(controlPlane, 'd8-system')
  t.equal(pod.spec.nodeName, 'master')
  t.strictSame(more, [], 'it runs on the control-plane node alone')
  const unchanged = async () => {
    const now = await podsOf(controlPlane, 'd8-system')
    t.match(now, [{ metadata: { uid: pod.metadata.uid }, status: { containerStatuses: [{ restartCount: 0 }] } }], 'without a restart')
  }

  const folder = await temporaryFolder(t)
  const secret = async (name: string, key: string) => {
    const { data } = await controlPlane.admin.find(`/api/v1/namespaces/d8-system/secrets/${name}`)
    return Buffer.from(data[key], 'base64').toString()
  }
  const ca = join(folder, 'ca.crt')
  await writeFile(ca, await secret('registry-pki', 'ca.crt'))
  const password = await secret('registry-user-rw', 'password')
  const address = addressOf(master.host)
  await writePauseArchive(join(folder, 'app.tar'), 'app:v1')
  const push = (name: string) => {
    const target = ['--dest-creds', `rw:${password}`, `docker://${address}/system/deckhouse/${name}:v1`]
    return skopeo(['copy', '--dest-tls-verify=false', `docker-archive:${join(folder, 'app.tar')}`, ...target])
  }
  await push('first')
  await runApp(controlPlane, 'first', worker)

  const withoutPassword = async () => (await ask({ address, ca }, { path: '/v2/system/deckhouse/first/manifests/v1' })).status
  t.equal(await withoutPassword(), 401)
  await release.upgrade({ config: { registry: { mode: 'Local' }, auth: { anonymous: ['pull'] } } })
  await until(async () => (await withoutPassword()) === 200)
  await unchanged()
  t.equal(await secret('registry-user-rw', 'password'), password, 'passwords stay')

  await release.rollback(1)
  await until(async () => (await withoutPassword()) === 401)
  await unchanged()
  await push('second')

  await release.upgrade({ resources: { limits: { memory: '700Mi' } } })
  await until(async () => {
    const now = await podsOf(controlPlane, 'd8-system')
    return now.length === 1 && now[0].metadata.uid !== pod.metadata.uid && isReady(now[0])
  })
  // Another Pod has the store of the one before.
  await runApp(controlPlane, 'second', worker)

  await release.uninstall()
  await until(async () => (await podsOf(controlPlane, 'd8-system')).length === 0)
  const { items } = await controlPlane.admin.find('/api/v1/namespaces/d8-system/secrets')
  t.strictSame(
    items.map((each: ApiObject) => each.metadata.name).filter((name: string) => name.startsWith('registry')),
    []
  )
  await t.resolves(access(master.host.path(join(places.data, 'docker/registry/v2'))), 'the store stays')
})

/** The Pods of the chart in a namespace. */
async function podsOf({ admin }: ControlPlane, namespace: string): Promise<ApiObject[]> {
  const query = 'labelSelector=app.kubernetes.io/instance%3Dregistry'
  return (await admin.find(`/api/v1/namespaces/${namespace}/pods?${query}`)).items
}

/** Has the kubelet of a node pull an image by the fixed name, and run it. */
async function runApp({ admin }: ControlPlane, name: string, { host }: Node): Promise<void> {
  const containers = [{ name, image: `${registryName}/system/deckhouse/${name}:v1` }]
  const spec = { hostNetwork: true, nodeName: host.name, automountServiceAccountToken: false, containers }
  const path = `/api/v1/namespaces/default/pods/${name}`
  await admin.apply(path, { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec })
  await until(async () => isReady(await admin.find(path)))
}
