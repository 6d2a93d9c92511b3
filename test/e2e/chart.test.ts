// What is installed is what is rendered: each mode and each value, held down by golden files that the program itself reads.
// `REGISTRY_GOLDEN=write` writes them anew.
import { X509Certificate } from 'node:crypto'
import { chown, cp, lstat, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { verify } from '@node-rs/bcrypt'
import type { Test } from 'tap'
import { test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { writeChart } from '../../build/bundle/chart.ts'
import { loadAgentConfig } from '../../config/agent/load.ts'
import { loadConfig } from '../../config/load.ts'
import pkg from '../../package.json' with { type: 'json' }
import { parseHtpasswd } from '../../src/access/htpasswd.ts'
import type { Outcome } from './command.ts'
import { must, run } from './command.ts'
import { temporaryFolder } from './place.ts'
import { hasTools, isRoot } from './tool.ts'

const chart = join(import.meta.dirname, '../../charts/registry')
const variants = join(import.meta.dirname, 'chart')

interface Resource {
  kind: string
  metadata: { name: string; namespace: string; annotations?: Record<string, string> }
  data?: Record<string, string>
  stringData?: Record<string, string>
}

/** Renders the chart as for a cluster of today that knows PodMonitors. */
function template(args: readonly string[], folder = chart): Promise<Outcome> {
  const cluster = ['--namespace', 'd8-system', '--kube-version', '1.34.0', '--api-versions', 'monitoring.coreos.com/v1']
  return run('helm', ['template', 'registry', folder, ...cluster, ...args])
}

async function resources(args: readonly string[]): Promise<Resource[]> {
  const { code, stdout, stderr } = await template(args)
  if (code !== 0) throw new Error(stderr)
  return parseAllDocuments(stdout).map(document => document.toJS() as Resource)
}

const named = (all: readonly Resource[], kind: string, name: string) => all.find(each => each.kind === kind && each.metadata.name === name)

/** The configuration of a rendered chart, as the program on a node reads it. */
async function configOf(t: Test, all: readonly Resource[]) {
  const file = join(await temporaryFolder(t), 'registry.yaml')
  await writeFile(file, named(all, 'Secret', 'registry-settings')?.stringData?.['registry.yaml'] ?? '')
  return loadConfig({ file, env: {}, nodeIP: '10.0.0.1' })
}

/** The configuration of the agents, with the Secret that the chart made for them. */
async function agentOf(t: Test, all: readonly Resource[]) {
  const folder = await temporaryFolder(t)
  for (const [name, value] of Object.entries(named(all, 'Secret', 'registry-proxy-access')?.data ?? {})) {
    await writeFile(join(folder, name), Buffer.from(value, 'base64'))
  }
  const settings = named(all, 'Secret', 'registry-proxy-settings')?.stringData?.['agent.yaml'] ?? ''
  await writeFile(join(folder, 'agent.yaml'), settings.replaceAll('/etc/registry/access', folder))
  return loadAgentConfig(join(folder, 'agent.yaml'), { env: {} })
}

test('helm finds nothing to blame in the chart', async t => {
  if (!hasTools(t, 'helm')) return
  const { code, stdout, stderr } = await run('helm', ['lint', '--strict', chart])
  t.equal(code, 0, stdout + stderr)
  t.notMatch(stdout, /\[(WARNING|ERROR)\]/)
})

for (const [variant, mode] of [
  ['local', 'Local'],
  ['proxy', 'Proxy'],
  ['direct', 'Direct'],
  ['agent', 'Proxy'],
  ['everything', 'Local'],
  ['nothing', 'Local']
] as const) {
  test(`${variant}: what is rendered is the golden file, and the program takes its configuration`, async t => {
    if (!hasTools(t, 'helm')) return
    const values = ['--values', join(variants, `${variant}.values.yaml`)]
    const golden = join(variants, `${variant}.golden.yaml`)
    const { stdout, stderr } = await template(values)
    if (process.env['REGISTRY_GOLDEN'] === 'write') await writeFile(golden, stdout)
    t.equal(stdout, await readFile(golden, 'utf8'), stderr)
    const { registry, server } = await configOf(t, await resources(values))
    t.equal(registry.mode, mode)
    t.strictSame(
      [server.listen, server.admin],
      [
        { host: '10.0.0.1', port: 5001 },
        { host: '10.0.0.1', port: 5002 }
      ]
    )
  })
}

test('a password in the values comes to the configuration as it is, whatever it holds', async t => {
  if (!hasTools(t, 'helm')) return
  const { registry } = await configOf(t, await resources(['--values', join(variants, 'proxy.values.yaml')]))
  t.equal(registry.upstream?.credentials?.password, 'quote"d $(x) {{ .Values }}')
})

test('what the chart makes fits together: passwords and their htpasswd file, the certificate and its authority', async t => {
  if (!hasTools(t, 'helm')) return
  const all = await resources(['--set', 'addresses={10.0.0.1,fd00::2}'])
  const data = (name: string, key: string) => Buffer.from(named(all, 'Secret', name)?.data?.[key] ?? '', 'base64').toString()
  const entries = parseHtpasswd(data('registry-users', 'htpasswd'))
  t.same(
    entries.map(({ user }) => user),
    ['ro', 'rw', 'metrics']
  )
  for (const { user, hash } of entries) {
    t.ok(await verify(data(`registry-user-${user}`, 'password'), hash), user)
    t.equal(data(`registry-user-${user}`, 'passwordHash'), hash)
    t.equal(data(`registry-user-${user}`, 'username'), user)
  }
  t.same(Object.keys((await configOf(t, all)).auth.users?.roles ?? {}).sort(), ['metrics', 'ro', 'rw'])
  const [authority, leaf] = [new X509Certificate(data('registry-pki', 'ca.crt')), new X509Certificate(data('registry-tls', 'tls.crt'))]
  t.ok(authority.ca && leaf.verify(authority.publicKey))
  t.equal(data('registry-tls', 'ca.crt'), data('registry-pki', 'ca.crt'))
  for (const name of ['registry.d8-system.svc', 'registry.d8-system.svc.cluster.local', 'localhost']) t.ok(leaf.checkHost(name), name)
  for (const ip of ['10.0.0.1', 'fd00::2', '127.0.0.1']) t.ok(leaf.checkIP(ip), ip)
  const again = await resources(['--set', 'addresses={10.0.0.1}'])
  t.not(named(again, 'Secret', 'registry-user-rw')?.data?.['password'], named(all, 'Secret', 'registry-user-rw')?.data?.['password'])
})

for (const [what, args, message] of [
  [
    'a mode that does not exist',
    ['config.registry.mode=Mirror'],
    /at '\/config\/registry\/mode': value must be one of 'Direct', 'Proxy', 'Local'/
  ],
  ['a mode without its upstream', ['config.registry.mode=Proxy'], /at '\/config\/registry': missing property 'proxy'/],
  ['a setting with a slip of the pen', ['config.sever.drain=1s'], /at '\/config': additional properties 'sever' not allowed/],
  ['a value with a slip of the pen', ['podMonitors.enabled=true'], /additional properties 'podMonitors' not allowed/],
  ['a duration in days', ['config.server.drain=1d'], /at '\/config\/server\/drain': '1d' does not match pattern/],
  ['a right that does not exist', ['config.auth.anonymous={fly}'], /at '\/config\/auth\/anonymous\/0': 'fly' does not match/],
  [
    'a port of its own, which the Pod has fixed',
    ['config.server.listen=0.0.0.0:5005'],
    /at '\/config\/server': additional properties 'listen' not allowed/
  ],
  ['a percentage of Pods, which no DaemonSet has', ['podDisruptionBudget.minAvailable=50%'], /minAvailable': got string, want integer/],
  ['a store at the root of the node', ['storage.hostPath=/'], /at '\/storage\/hostPath': '\/' does not match/],
  ['an address that is none', ['addresses={10.0.0}'], /at '\/addresses\/0': '10\.0\.0' does not match/],
  ['a digest of another algorithm', ['image.digest=md5:1'], /at '\/image\/digest': 'md5:1' does not match/]
] as const) {
  test(`${what} is refused before anything is installed, by a message that names it`, async t => {
    if (!hasTools(t, 'helm')) return
    const { code, stdout, stderr } = await template(['--set', 'tls.existingSecret=a', ...args.flatMap(each => ['--set', each])])
    t.strictSame([code, stdout], [1, ''])
    t.match(stderr, message)
  })
}

test('where no node is found, the chart says what to set', async t => {
  if (!hasTools(t, 'helm')) return
  t.match(await template([]), {
    code: 1,
    stdout: '',
    stderr: /Set addresses to those of the nodes that run the registry, or tls\.existingSecret\./
  })
})

test('the notes are the next three commands, for the mode', async t => {
  if (!hasTools(t, 'helm')) return
  const folder = join(await temporaryFolder(t), 'registry')
  await cp(chart, folder, { recursive: true })
  await cp(join(chart, 'templates/NOTES.txt'), join(folder, 'notes.txt'))
  await writeFile(join(folder, 'templates/shown.yaml'), 'notes: {{ tpl (.Files.Get "notes.txt") . | toJson }}\n')
  const notes = async (variant: string) => {
    const { stdout, stderr } = await template(
      ['--values', join(variants, `${variant}.values.yaml`), '--show-only', 'templates/shown.yaml'],
      folder
    )
    t.match(stderr, '')
    const [shown] = parseAllDocuments(stdout).map(document => document.toJS() as { notes: string })
    return shown?.notes ?? ''
  }
  const local = await notes('local')
  t.match(
    local,
    /1\. .*rollout status daemonset\/registry\n.*2\. Push .*\n.*skopeo copy .*3\. .*\n.*registry containerd install .*crictl pull registry\.d8-system\.svc:5001\/system\/deckhouse\/app:v1/s
  )
  const proxy = await notes('proxy')
  t.notMatch(proxy, /skopeo/)
  t.match(proxy, /2\. See that the upstream answers:\n.*main\.js why registry\.d8-system\.svc:5001\/system\/deckhouse\/app:v1/s)
})

test('the agent has the authority and the password of the user that were made with it, and every replica', async t => {
  if (!hasTools(t, 'helm')) return
  const all = await resources(['--set', 'addresses={10.0.0.1,fd00::2},agent.enabled=true'])
  const access = named(all, 'Secret', 'registry-proxy-access')
  t.equal(access?.metadata.namespace, 'kube-system')
  t.equal(access?.data?.['password'], named(all, 'Secret', 'registry-user-ro')?.data?.['password'])
  t.equal(access?.data?.['ca.crt'], named(all, 'Secret', 'registry-pki')?.data?.['ca.crt'])
  const pool = (await agentOf(t, all)).agent.routes[0]?.pools[0]
  t.match(pool, { replicas: [{ address: '10.0.0.1:5001' }, { address: '[fd00::2]:5001' }] })
})

test('an agent that has no password and no authority to be given is refused, with what to set', async t => {
  if (!hasTools(t, 'helm')) return
  const agent = ['--set', 'addresses={10.0.0.1},agent.enabled=true']
  for (const given of ['users.existingSecret=a', 'tls.existingSecret=a', 'agent.username=other']) {
    t.match(
      await template([...agent, '--set', given]),
      { code: 1, stderr: /Name a Secret in kube-system with ca\.crt and password\./ },
      given
    )
  }
})

interface Container {
  command: string[]
  args: string[]
}

/** Runs what the init container of the Pod runs, on another directory. */
async function giveStore(hostPath: string): Promise<Outcome> {
  const all = await resources(['--set', `tls.existingSecret=a,users.existingSecret=b,storage.hostPath=${hostPath}`])
  const pod = named(all, 'DaemonSet', 'registry') as unknown as { spec: { template: { spec: { initContainers: Container[] } } } }
  const [owner] = pod.spec.template.spec.initContainers
  const [command = '', ...args] = [...(owner?.command ?? []), ...(owner?.args ?? [])]
  return await run(command, args)
}

test('a store of another user is given to that of the registry, and no link in it leads the init container elsewhere', async t => {
  if (!hasTools(t, 'helm') || !isRoot(t)) return
  const folder = await temporaryFolder(t)
  const store = join(folder, 'store')
  await mkdir(join(store, 'docker/registry/v2/blobs'), { recursive: true })
  await writeFile(join(store, 'docker/registry/v2/blobs/data'), 'bytes')
  await writeFile(join(folder, 'outside'), 'of another')
  await symlink(join(folder, 'outside'), join(store, 'docker/link'))
  await symlink(folder, join(store, 'docker/directory'))
  t.match(await giveStore(store), { code: 0, stderr: '' })
  for (const path of ['', 'docker', 'docker/registry/v2/blobs/data', 'docker/link'])
    t.equal((await lstat(join(store, path))).uid, 64_535, path)
  t.equal((await lstat(join(folder, 'outside'))).uid, 0)
  t.equal((await lstat(folder)).uid, 0)
})

test('a start that was broken off is repeated, and one whose store is given reads nothing', async t => {
  if (!hasTools(t, 'helm') || !isRoot(t)) return
  const store = await temporaryFolder(t)
  await mkdir(join(store, 'docker'))
  await chown(join(store, 'docker'), 64_535, 64_535)
  t.match(await giveStore(store), { code: 0 })
  t.equal((await lstat(store)).uid, 64_535)
  await mkdir(join(store, 'foreign'))
  t.match(await giveStore(store), { code: 0 })
  t.equal((await lstat(join(store, 'foreign'))).uid, 0)
})

test('a directory that is no store is left as it is, and the init container says so', async t => {
  if (!hasTools(t, 'helm') || !isRoot(t)) return
  const etc = await temporaryFolder(t)
  for (const name of ['passwd', 'docker', 'shadow']) await writeFile(join(etc, name), name)
  t.match(await giveStore(etc), {
    code: 1,
    stderr: /storage\.hostPath: .* holds passwd,shadow, which is no store of a registry: name another directory/
  })
  for (const name of ['', 'passwd', 'docker']) t.equal((await lstat(join(etc, name))).uid, 0)
})

test('the chart has the version of the program', async t => {
  const text = await readFile(join(chart, 'Chart.yaml'), 'utf8')
  t.match(text, `\nversion: ${pkg.version}\nappVersion: ${pkg.version}\n`)
})

test('the chart of the bundle is the same bytes twice, and renders what the folder does', async t => {
  if (!hasTools(t, 'helm')) return
  const folder = await temporaryFolder(t)
  const packed = [join(folder, 'one.tgz'), join(folder, 'two.tgz')] as const
  for (const file of packed) await writeChart(file, new Date('2026-01-02T03:04:05Z'))
  t.equal(Buffer.compare(await readFile(packed[0]), await readFile(packed[1])), 0)
  const values = ['--values', join(variants, 'agent.values.yaml')]
  t.equal((await template(values, packed[0])).stdout, (await template(values)).stdout)
})

test('helm packs it, and what is packed renders the same', async t => {
  if (!hasTools(t, 'helm')) return
  const folder = await temporaryFolder(t)
  await must('helm', ['package', chart, '--destination', folder])
  const values = ['--values', join(variants, 'local.values.yaml')]
  t.equal((await template(values, join(folder, `registry-${pkg.version}.tgz`))).stdout, (await template(values)).stdout)
})
