import { appendFile, chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { readRecord } from '../../../src/node/apply/record.ts'
import { planOf } from '../../../src/node/node.ts'
import { statusOfNode } from '../../../src/node/status.ts'
import {
  applied,
  bare,
  configured,
  direct,
  filesOnly,
  local,
  now,
  proxy,
  put,
  reference,
  rootOf,
  snapshot,
  toolsThatTell,
  unmanaged,
  wantedOf,
  worker
} from './scene.ts'

const hosts = 'etc/containerd/registry.d/registry.d8-system.svc:5001/hosts.toml'
const agentPod = 'etc/kubernetes/manifests/registry-proxy.yaml'
const day = 86_400_000

test('apply: a node is made whole, and restore gives back what was there', async t => {
  const root = await rootOf(t, {
    ...configured,
    'etc/kubernetes/manifests/etcd.yaml': 'theirs',
    'opt/deckhouse/registry/docker/content': 'blob'
  })
  const before = await snapshot(root)
  const steps = await applied(local, filesOnly(root))
  t.ok(steps.length > 20)
  t.ok((await statusOfNode(root, now)).asApplied)
  await applied(undefined, filesOnly(root))
  t.same(await snapshot(root), before)
})

test('apply: with nothing to do no file is written, touched or replaced', async t => {
  const root = await rootOf(t, configured)
  for (const settings of [local, proxy, direct, worker, { ...worker, balancer: 'hosts' }, unmanaged, bare]) {
    await applied(settings, filesOnly(root))
    const before = await snapshot(root, { identity: true })
    t.same(await applied(settings, filesOnly(root)), [])
    t.same(await snapshot(root, { identity: true }), before)
  }
})

test('apply: a change of the mode rewrites configurations alone, so that no pod is restarted', async t => {
  const root = await rootOf(t, configured)
  await applied(local, filesOnly(root))
  t.same(await applied(proxy, filesOnly(root)), [
    'record',
    'write etc/kubernetes/registry/upstream-license',
    'write etc/kubernetes/registry/serve.yaml',
    'record'
  ])
  const change = await applied(direct, filesOnly(root))
  t.same(
    change.filter(step => /manifests|containerd|await|restart/.test(step)),
    []
  )
  const { applied: mode } = await readRecord(root)
  t.same(mode, { mode: 'Direct' })
})

test('apply: a file of ours that was edited, removed or opened to all is put back, and status tells', async t => {
  const root = await rootOf(t, configured)
  await applied(local, filesOnly(root))
  const before = await snapshot(root)
  await appendFile(join(root, hosts), '# mine\n')
  await rm(join(root, agentPod))
  await chmod(join(root, 'etc/kubernetes/registry/pki/distribution.key'), 0o644)
  const status = await statusOfNode(root, now)
  t.notOk(status.asApplied)
  t.match(
    status.files.filter(({ state }) => state !== 'as applied'),
    [
      { path: `/${hosts}`, state: 'changed' },
      { path: `/${agentPod}`, state: 'absent' }
    ]
  )
  t.same(await applied(local, filesOnly(root)), [
    'write etc/kubernetes/registry/pki/distribution.key',
    `write ${agentPod}`,
    'await',
    'await',
    `write ${hosts}`
  ])
  t.same(await snapshot(root), before)
})

for (const file of [hosts, agentPod, 'etc/kubernetes/registry/htpasswd']) {
  test(`apply: a foreign ${file} stands in the way, is named, and nothing is written`, async t => {
    const root = await rootOf(t, { ...configured, [file]: 'theirs' })
    const before = await snapshot(root)
    await t.rejects(applied(local, filesOnly(root)), new RegExp(`^/${file} is there and was not written by apply: move it away`))
    t.same(await snapshot(root), before)
    const replacing = filesOnly(root, { replace: true })
    await applied(local, replacing)
    t.not(await readFile(join(root, file), 'utf8'), 'theirs')
    t.same(await applied(local, filesOnly(root)), [], 'then it is ours')
    await applied(undefined, filesOnly(root))
    t.equal(await readFile(join(root, file), 'utf8'), 'theirs')
  })
}

test('apply: registry hosts of others stay, and are reported', async t => {
  const theirs = 'etc/containerd/registry.d/docker.io/hosts.toml'
  const root = await rootOf(t, { ...configured, [theirs]: 'theirs' })
  await applied(local, filesOnly(root))
  t.same((await statusOfNode(root, now)).foreignHosts, ['/etc/containerd/registry.d/docker.io'])
  await applied(undefined, filesOnly(root))
  t.equal(await readFile(join(root, theirs), 'utf8'), 'theirs')
})

for (const directory of ['etc/containerd', 'etc/kubernetes/registry', 'etc/kubernetes/manifests']) {
  test(`apply: where /${directory} is a symbolic link nothing is written, there or behind it`, async t => {
    const root = await rootOf(t)
    const outside = await rootOf(t, { 'config.toml': configured['etc/containerd/config.toml'] })
    await mkdir(join(root, directory, '..'), { recursive: true })
    await symlink(outside, join(root, directory))
    const before = await snapshot(outside)
    await t.rejects(applied(local, filesOnly(root)), new RegExp(`${directory} is not a directory of its own`))
    t.same(await snapshot(outside), before)
  })
}

test('apply: the agent is waited for before containerd is told of it, and left only after that', async t => {
  const root = await rootOf(t, configured)
  const told: string[] = []
  const images = new Set<string>()
  const options = filesOnly(root, { tools: toolsThatTell(images, told) })
  const steps = await applied(local, options)
  t.same(told, ['import /opt/deckhouse/registry-image.tar', 'await the replica of this node', 'await the agent'])
  const at = (step: string) => steps.indexOf(step)
  t.ok(at('import image') < at(`write ${agentPod}`))
  t.ok(at(`write ${agentPod}`) < at('await') && steps.lastIndexOf('await') < at(`write ${hosts}`))
  const back = await applied({ ...local, balancer: 'hosts' }, options)
  t.ok(back.indexOf(`write ${hosts}`) < back.indexOf(`remove ${agentPod}`))
  t.ok(back.indexOf(`remove ${agentPod}`) < back.indexOf('remove etc/kubernetes/registry-proxy/agent.yaml'))
})

test('apply: an agent that does not come up leaves what containerd reads as it was', async t => {
  const root = await rootOf(t, configured)
  await applied({ ...local, balancer: 'hosts' }, filesOnly(root))
  const before = await readFile(join(root, hosts), 'utf8')
  const broken = {
    ...toolsThatTell(new Set([reference]), []),
    awaitServer: async () => Promise.reject(new Error('the agent does not answer on 127.0.0.1:5001 (refused)'))
  }
  await t.rejects(applied(local, filesOnly(root, { tools: broken })), /step \d+ of \d+, wait until .* answers: the agent does not answer/)
  t.equal(await readFile(join(root, hosts), 'utf8'), before)
  t.notOk((await statusOfNode(root, now)).asApplied)
  await applied(local, filesOnly(root))
  t.match(await readFile(join(root, hosts), 'utf8'), 'https://127.0.0.1:5001')
})

test('apply: an image that the kubelet has removed is imported again, and one without an archive stands in the way', async t => {
  const root = await rootOf(t, configured)
  const told: string[] = []
  const images = new Set<string>()
  const options = filesOnly(root, { tools: toolsThatTell(images, told) })
  await applied(local, options)
  images.clear()
  told.length = 0
  t.same(await applied(local, options), ['import image'])
  t.same(told, ['import /opt/deckhouse/registry-image.tar'])
  images.clear()
  const { archive: _, ...image } = local.image
  await t.rejects(applied({ ...local, image }, options), /containerd does not have .*name its archive/)
})

test('apply: config_path is set where it is not, once, with one restart, and taken back with one', async t => {
  const theirs = '# mine\nversion = 2\nroot = "/data"\n'
  const root = await rootOf(t, { 'etc/containerd/config.toml': theirs })
  const told: string[] = []
  const options = filesOnly(root, { tools: toolsThatTell(new Set([reference]), told) })
  const steps = await applied(local, options)
  t.same(steps.slice(-4), [`write ${hosts}`, 'write etc/containerd/config.toml', 'restart containerd', 'record'])
  t.ok((await readFile(join(root, 'etc/containerd/config.toml'), 'utf8')).startsWith(theirs))
  t.same(await applied(local, options), [])
  told.length = 0
  const back = await applied(undefined, options)
  t.ok(back.indexOf('give back etc/containerd/config.toml') < back.indexOf('restart containerd'))
  t.same(told, ['restart'])
  t.equal(await readFile(join(root, 'etc/containerd/config.toml'), 'utf8'), theirs)
})

test("apply: an edit of containerd's file by others is not lost, neither at the next apply nor at restore", async t => {
  const file = 'etc/containerd/config.toml'
  const root = await rootOf(t, { [file]: 'version = 2\n' })
  await applied(local, filesOnly(root))
  await appendFile(join(root, file), '\n[debug]\n  level = "debug"\n')
  t.same(await applied(local, filesOnly(root)), [])
  const edited = await readFile(join(root, file), 'utf8')
  const plan = await planOf(undefined, filesOnly(root))
  t.match(plan.warnings.join('\n'), /config.toml was changed since apply set config_path in it: it is left alone/)
  await applied(undefined, filesOnly(root))
  t.equal(await readFile(join(root, file), 'utf8'), edited)
})

const legacy: Record<string, [Record<string, string>, RegExp]> = {
  'mirrors in its own file': [
    {
      'etc/containerd/config.toml':
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n  endpoint = ["https://mirror.example.org"]\n'
    },
    /registry\.mirrors \(docker\.io\) excludes config_path/
  ],
  'custom auth in conf.d': [
    {
      'etc/containerd/config.toml': 'version = 2\n',
      'etc/containerd/conf.d/auth.toml':
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example.org".auth]\n  username = "u"\n'
    },
    /^Failed to merge \/etc\/containerd\/conf\.d\/auth\.toml: it contains custom registry fields, configure them in \/etc\/containerd\/registry\.d instead/
  ],
  'a file that is no TOML': [{ 'etc/containerd/config.toml': 'version = = 2\n' }, /config\.toml/],
  "k3s's own": [{ 'var/lib/rancher/k3s/agent/etc/containerd/config.toml': 'version = 2\n' }, /containerd belongs to k3s/]
}

for (const [what, [files, message]] of Object.entries(legacy)) {
  test(`apply: containerd with ${what} is said to stand in the way, and nothing is written`, async t => {
    const root = await rootOf(t, files)
    const before = await snapshot(root)
    await t.rejects(applied(local, filesOnly(root)), message)
    t.same(await snapshot(root), before)
  })
}

test('apply: Unmanaged with an upstream leaves hosts.toml of the upstream alone, without one nothing', async t => {
  const root = await rootOf(t, configured)
  const before = await snapshot(root)
  await applied(local, filesOnly(root))
  const steps = await applied(unmanaged, filesOnly(root))
  const own = 'etc/containerd/registry.d/registry.example.org/hosts.toml'
  t.ok(steps.indexOf(`write ${own}`) < steps.indexOf(`remove ${hosts}`), 'the new way first')
  t.same(
    (await statusOfNode(root, now)).files.map(({ path }) => path),
    [`/${own}`, '/etc/containerd/registry.d/registry.example.org/https-registry.example.org-ca.crt']
  )
  await applied(bare, filesOnly(root))
  const { opt: _, 'opt/deckhouse': __, 'opt/deckhouse/registry': ___, ...after } = await snapshot(root)
  t.same(after, before, 'the content of the replica stays')
})

test('apply: certificates are renewed in time, without a restart of a pod and without a word to containerd', async t => {
  const root = await rootOf(t, configured)
  await applied(local, filesOnly(root))
  t.same(await applied(local, filesOnly(root, { now: now + 240 * day })), [])
  t.same(await applied(local, filesOnly(root, { now: now + 250 * day })), [
    'record',
    'write etc/kubernetes/registry/pki/distribution.crt',
    'write etc/kubernetes/registry/pki/distribution.key',
    'write etc/kubernetes/registry-proxy/pki/agent.crt',
    'write etc/kubernetes/registry-proxy/pki/agent.key'
  ])
})

test('apply: content of another owner stays his, and the replica runs as him', async t => {
  const root = await rootOf(t, { ...configured, 'opt/deckhouse/registry/local_data/docker/registry/v2/x': 'blob' })
  await applied(local, filesOnly(root))
  const pod = await readFile(join(root, 'etc/kubernetes/manifests/registry-nodeservices.yaml'), 'utf8')
  t.match(pod, `runAsUser: ${process.geteuid?.()}\n`)
  t.match(await readFile(join(root, 'etc/kubernetes/registry/serve.yaml'), 'utf8'), 'root: /opt/deckhouse/registry/local_data\n')
})

test('apply: a damaged record stands in the way, and nothing is touched', async t => {
  const root = await rootOf(t, configured)
  await applied(local, filesOnly(root))
  for (const text of ['{', '{"version":2}', '{"version":1,"files":{"../../etc/passwd":{}},"directories":[]}']) {
    await writeFile(join(root, 'var/lib/registry-node/record.json'), text)
    const before = await snapshot(root)
    await t.rejects(applied(undefined, filesOnly(root)), /record\.json is damaged/)
    t.same(await snapshot(root), before)
  }
})

test('plan: tells what would be done and does nothing', async t => {
  const root = await rootOf(t, configured)
  const before = await snapshot(root, { identity: true })
  t.ok((await planOf(wantedOf(local), filesOnly(root))).steps.length > 20)
  t.same(await snapshot(root, { identity: true }), before)
  await put(root, 'var/lib/kubelet/config.yaml', 'staticPodPath: /etc/elsewhere\n')
  t.match((await planOf(wantedOf(local), filesOnly(root))).warnings.join('\n'), /the kubelet reads static pods in \/etc\/elsewhere/)
})
