// What the chart renders is run as on a control-plane node: the registry on the node's address and the agent on 127.0.0.1, both
// with port 5001, in a network of their own; the Secrets are mounted as the kubelet does it.
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { must } from './command.ts'
import { startDaemon } from './daemon.ts'
import { makeSingle } from './image.ts'
import { sha256 } from './layout.ts'
import { temporaryFolder } from './place.ts'
import { hasTools, isRoot } from './tool.ts'

const nodeIP = '127.0.0.2'
const chart = join(import.meta.dirname, '../../charts/registry')

interface Secret {
  kind: string
  metadata: { name: string }
  data?: Record<string, string>
  stringData?: Record<string, string>
}

async function secretsOf(args: readonly string[]): Promise<Map<string, Record<string, Buffer>>> {
  const fixed = ['--namespace', 'd8-system', '--kube-version', '1.34.0', '--set', `addresses={${nodeIP}},agent.enabled=true`]
  const rendered = parseAllDocuments(await must('helm', ['template', 'registry', chart, ...fixed, ...args])).map(
    each => each.toJS() as Secret
  )
  const secrets = rendered.filter(({ kind }) => kind === 'Secret')
  return new Map(
    secrets.map(({ metadata, data = {}, stringData = {} }) => {
      const decoded = Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64')] as const)
      const written = Object.entries(stringData).map(([key, value]) => [key, Buffer.from(value)] as const)
      return [metadata.name, Object.fromEntries([...decoded, ...written])]
    })
  )
}

let mounts = 0

/** Mounts a Secret as the kubelet does, and again when it has changed: `..data` is a link that is replaced. */
async function mount(at: string, files: Readonly<Record<string, Buffer>>): Promise<void> {
  mounts += 1
  const version = `..version-${mounts}`
  await mkdir(join(at, version), { recursive: true })
  for (const [name, bytes] of Object.entries(files)) {
    await writeFile(join(at, version, name), bytes)
    await symlink(join('..data', name), join(at, name)).catch(() => {})
  }
  await symlink(version, join(at, '..new'))
  await rename(join(at, '..new'), join(at, '..data'))
}

/** A network without any other machine. */
async function network(t: Test): Promise<string[]> {
  const name = `registry-chart-${process.pid}`
  await must('ip', ['netns', 'add', name])
  t.teardown(() => must('ip', ['netns', 'del', name]))
  const inside = ['netns', 'exec', name]
  await must('ip', [...inside, 'ip', 'link', 'set', 'lo', 'up'])
  return inside
}

test('installed with the agent: a push with the password of rw, a pull through the agent without any, and a mode that changes live', async t => {
  if (!hasTools(t, 'helm', 'ip', 'skopeo', 'curl') || !isRoot(t)) return
  const folder = await temporaryFolder(t)
  const inside = await network(t)
  const local = await secretsOf(['--set', `storage.hostPath=${join(folder, 'store')}`])
  const text = (secret: string, key: string) => local.get(secret)?.[key]?.toString() ?? ''
  // The paths of the Pod, below the folder.
  const here = (bytes: Buffer | undefined) => Buffer.from((bytes ?? '').toString().replaceAll('/etc/registry', join(folder, 'etc')))
  const settings = (secrets: typeof local) => ({ 'registry.yaml': here(secrets.get('registry-settings')?.['registry.yaml']) })
  await mount(join(folder, 'etc/config'), settings(local))
  await mount(join(folder, 'etc/tls'), local.get('registry-tls') ?? {})
  await mount(join(folder, 'etc/users'), local.get('registry-users') ?? {})
  await mount(join(folder, 'etc/access'), local.get('registry-proxy-access') ?? {})
  await mount(join(folder, 'etc/agent'), { 'agent.yaml': here(local.get('registry-proxy-settings')?.['agent.yaml']) })
  const ca = join(folder, 'etc/tls/ca.crt')
  const curl = (...args: string[]) => must('ip', [...inside, 'curl', '--silent', '--fail', '--cacert', ca, ...args])
  const start = async (args: string[], probe: string[]) => {
    const command = [...inside, process.execPath, 'src/main.ts', ...args]
    const daemon = await startDaemon({
      command: 'ip',
      args: command,
      env: { NODE_OPTIONS: '' },
      probe: async () => void (await curl(...probe))
    })
    t.teardown(() => daemon.stop())
  }
  await start(['serve', '--config', join(folder, 'etc/config/registry.yaml'), '--node-ip', nodeIP], [`https://${nodeIP}:5002/readyz`])
  const lastGood = join(folder, 'state/last-good.yaml')
  await mkdir(dirname(lastGood))
  await start(['agent', '--config', join(folder, 'etc/agent/agent.yaml'), '--last-good', lastGood], ['http://127.0.0.1:5003/readyz'])

  const { layout, image } = await makeSingle(join(folder, 'made'))
  const to = `docker://${nodeIP}:5001/system/deckhouse/app:v1`
  const access = ['--dest-tls-verify=false', '--dest-creds', `rw:${text('registry-user-rw', 'password')}`]
  await must('ip', [...inside, 'skopeo', '--insecure-policy', 'copy', ...access, `oci:${layout.folder}:image`, to])
  const pulled = join(folder, 'pulled')
  const from = 'docker://127.0.0.1:5001/system/deckhouse/app:v1'
  await must('ip', [
    ...inside,
    'skopeo',
    '--insecure-policy',
    'copy',
    '--src-tls-verify=false',
    '--preserve-digests',
    from,
    `oci:${pulled}:v1`
  ])
  t.equal(sha256(Buffer.from(await must('skopeo', ['inspect', '--raw', `oci:${pulled}:v1`]))), image.digest)

  const metrics = [`https://${nodeIP}:5002/metrics`, '--user', `metrics:${text('registry-user-metrics', 'password')}`]
  t.match(await curl(...metrics), /^registry_config_info\{[^}]*mode="Local"/m)
  const proxy = ['--set', 'config.registry.mode=Proxy,config.registry.proxy.imagesRepo=registry.invalid/ee']
  const changed = await secretsOf([...proxy, '--set', `storage.hostPath=${join(folder, 'store')}`])
  await mount(join(folder, 'etc/config'), settings(changed))
  while (!/^registry_config_info\{[^}]*mode="Proxy"/m.test(await curl(...metrics))) await sleep(100)
  await must('ip', [...inside, 'skopeo', '--insecure-policy', 'inspect', '--tls-verify=false', from])
})
