import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { showCluster, switchCluster } from '../../../src/commands/cluster.ts'
import { statusText } from '../../../src/controller/report/status-text.ts'
import { encodeSecret } from '../../../src/kubernetes/object.ts'
import { FakeApi } from '../../support/kubernetes-api.ts'

const now = Date.parse('2026-11-30T09:10:00Z')
const condition = (type: string, status: 'True' | 'False', message = '', at = '2026-11-30T09:00:00Z') => ({
  type,
  status,
  reason: '' as const,
  message,
  lastTransitionTime: at
})

test('cluster status: what is done, what is waited for and since when, and past a while what to do', async t => {
  const waiting = {
    mode: 'Unmanaged',
    targetMode: 'Proxy',
    conditions: [
      condition('RegistryContainsRequiredImages', 'True', 'r.example.org: all 157 items are checked'),
      condition('NodeServicesReady', 'False', '1/2 node(s) ready. Waiting:\n- m2: node is not Ready\n'),
      condition('Ready', 'False', 'Transitioning to Proxy', '2026-11-30T09:09:30Z')
    ]
  }
  t.equal(
    statusText(waiting, now),
    `mode   Unmanaged, on the way to Proxy
done   RegistryContainsRequiredImages
         r.example.org: all 157 items are checked
waits  NodeServicesReady since 10 min
         1/2 node(s) ready. Waiting:
         - m2: node is not Ready
         → Look at the node, and there at: registry node status
waits  Ready since 30 s
         Transitioning to Proxy
`
  )
  t.equal(statusText({ mode: 'Local', targetMode: 'Local', conditions: [condition('Ready', 'True')] }, now), 'mode   Local\ndone   Ready\n')
})

async function scene(t: Test): Promise<{ api: FakeApi; kubeconfig: string; print: (text: string) => void; printed: () => string }> {
  const api = await FakeApi.start(t)
  const kubeconfig = join(mkdtempSync(join(tmpdir(), 'cluster-')), 'config')
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'it',
      clusters: [{ name: 'it', cluster: { server: api.url } }],
      users: [{ name: 'it', user: { token: 'T' } }],
      contexts: [{ name: 'it', context: { cluster: 'it', user: 'it' } }]
    })
  )
  const printed: string[] = []
  return { api, kubeconfig, print: text => void printed.push(text), printed: () => printed.join('') }
}

const putState = (api: FakeApi, mode: string, status: 'True' | 'False', generation: number) =>
  api.put({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'registry-state', namespace: 'd8-system' },
    data: encodeSecret({
      mode,
      target_mode: mode,
      conditions: JSON.stringify([{ ...condition('Ready', status), observedGeneration: generation }])
    })
  })

test('cluster switch: the settings are edited and the sections of other modes go; --wait ends with this switch, not with the one before', async t => {
  const { api, kubeconfig, print, printed } = await scene(t)
  const other = {
    modules: { publicDomainTemplate: '%s.example.org' },
    registry: { mode: 'Direct', direct: { imagesRepo: 'old.example.org' } }
  }
  api.put({
    apiVersion: 'deckhouse.io/v1alpha1',
    kind: 'ModuleConfig',
    metadata: { name: 'deckhouse' },
    spec: { version: 1, settings: other }
  })
  putState(api, 'Proxy', 'True', 1)
  const asked = api.requests.length
  const switched = switchCluster('Proxy', { kubeconfig, imagesRepo: 'r.example.org/ee', license: 'L', wait: true }, print)
  while (api.requests.slice(asked).filter(({ path }) => path.includes('registry-state')).length < 2)
    await new Promise(resolve => setTimeout(resolve, 20))
  t.match(api.get('ModuleConfig', 'deckhouse')?.spec, {
    settings: { modules: other.modules, registry: { mode: 'Proxy', proxy: { imagesRepo: 'r.example.org/ee', license: 'L' } } }
  })
  t.notMatch(JSON.stringify(api.get('ModuleConfig', 'deckhouse')), 'old.example.org')
  putState(api, 'Proxy', 'True', 2)
  t.equal(await switched, true)
  t.match(printed(), 'mode   Proxy')
})

test('cluster switch: settings that are at fault are refused before anything is written', async t => {
  const { api, kubeconfig } = await scene(t)
  await t.rejects(switchCluster('Proxy', { kubeconfig }), { name: 'WrongUse', message: /'proxy' section must be specified/ })
  await t.rejects(switchCluster('Local', { kubeconfig, imagesRepo: 'r.example.org' }), { name: 'WrongUse' })
  t.equal(api.requests.length, 0)
})

test('cluster status: no controller has looked at the cluster', async t => {
  const { api, kubeconfig, print, printed } = await scene(t)
  await t.rejects(
    showCluster({ kubeconfig }),
    /no Secret registry-state in namespace d8-system: no controller has looked at this cluster yet/
  )
  putState(api, 'Local', 'False', 1)
  t.equal(await showCluster({ kubeconfig, json: true }, print), false)
  t.match(JSON.parse(printed()), { mode: 'Local', targetMode: 'Local' })
})
