// Deckhouse's own tools, and `registry node`, read these objects: a change of shape is a change of the contract.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse, stringify } from 'yaml'
import { decodeSecret, type KubernetesObject } from '../../../src/kubernetes/object.ts'
import { FakeCluster } from './fake-cluster.ts'

const upstream = { imagesRepo: 'registry.deckhouse.ru/deckhouse/ee', scheme: 'HTTPS', license: 'LICENSE' }
const modes = {
  direct: { mode: 'Direct', direct: upstream },
  proxy: { mode: 'Proxy', proxy: { ...upstream, ttl: '24h' } },
  local: { mode: 'Local' },
  unmanaged: { mode: 'Unmanaged', unmanaged: upstream }
}

for (const [name, settings] of Object.entries(modes)) {
  test(`golden: every object in ${settings.mode}, and during the switch to it`, async t => {
    const cluster = new FakeCluster(2, 1)
    cluster.want(settings)
    const transition = new Map<string, unknown>()
    cluster.converge(() => {
      const told = cluster.secrets.get('registry-bashible-config')
      if (told && !transition.has('transition')) transition.set('transition', parse(decodeSecret(told)['config'] ?? ''))
    })
    const all = [...cluster.secrets, ...cluster.services, ...cluster.deployments, ...cluster.others].map(([, object]) => shown(object))
    const text = stringify([...all, ...transition.values()], { lineWidth: 0, aliasDuplicateObjects: false })
    const file = join(import.meta.dirname, 'golden', `${name}.yaml`)
    // To accept a change: remove the file, run the test, and look at the difference.
    if (!existsSync(file)) writeFileSync(file, text)
    t.equal(text, readFileSync(file, 'utf8'))
  })
}

// `data` as a person reads it, with the YAML in it parsed.
function shown(object: KubernetesObject): unknown {
  const { status: _, ...rest } = object as KubernetesObject & { status?: unknown }
  if (object.kind !== 'Secret') return rest
  const data = Object.entries(decodeSecret(object)).map(([key, value]) => [
    key,
    /^(config|state|conditions|config\.yaml)$/.test(key) ? parse(value) : value
  ])
  return { ...rest, data: Object.fromEntries(data) }
}
