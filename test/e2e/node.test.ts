// What `registry node apply` writes, read by what reads it on a node: containerd, the replica, the agent.
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { stringify } from 'yaml'
import { must, type Outcome, run } from './command.ts'
import { type Containerd, containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { startDaemon } from './daemon.ts'
import { makeSingle } from './image.ts'
import { freePort, temporaryFolder } from './place.ts'
import { ask } from './request.ts'
import { skopeo } from './skopeo.ts'
import { hasTools, isRoot, pathOf } from './tool.ts'

const reference = `${host}/system/deckhouse/registry:v1`
const users = { ro: { password: 'password-of-ro' }, rw: { password: 'password-of-rw' } }

interface Node {
  root: string
  /** Where containerd of the node listens. */
  socket: string
  apply(): Promise<Outcome>
  /** The node's own command line of containerd. */
  ctr(...args: string[]): Promise<string>
}

/** A node that has nothing but a running containerd and an archive of the image. */
async function nodeOf(t: Test, version: Containerd): Promise<Node> {
  const folder = await temporaryFolder(t)
  const root = join(folder, 'root')
  const { layout } = await makeSingle(join(folder, 'made'))
  const archive = join(folder, 'image.tar')
  await skopeo(['copy', `oci:${layout.folder}:image`, `docker-archive:${archive}:${reference}`])
  const address = '10.0.0.1'
  const wanted = {
    node: { name: 'm1', address, role: 'control-plane' },
    mode: 'Local',
    replicas: [{ name: 'm1', address }],
    users,
    image: { reference, archive }
  }
  await writeFile(join(folder, 'node.yaml'), stringify(wanted))
  // The commands have one name on a node, whatever their version.
  const bin = join(folder, 'bin')
  await mkdir(bin)
  await mkdir(join(root, 'var/lib'), { recursive: true })
  await symlink(pathOf(version.daemon) ?? '', join(bin, 'containerd'))
  await symlink(pathOf(version.client) ?? '', join(bin, 'ctr'))
  const { socket } = await startContainerd(t, version, { address: '127.0.0.1:1' })
  const PATH = `${bin}${delimiter}${process.env['PATH']}`
  const args = ['src/main.ts', 'node', 'apply', '--config', join(folder, 'node.yaml'), '--root', root, '--containerd', socket]
  return {
    root,
    socket,
    apply: () => run(process.execPath, args, { env: { PATH } }),
    ctr: (...more) => must(version.client, ['--address', socket, '--namespace', 'k8s.io', ...more])
  }
}

function ready(t: Test, version: Containerd): boolean {
  return isRoot(t) && hasTools(t, 'skopeo', version.daemon, version.client)
}

/** Starts what the static pod `args` runs, with the paths of the node below `root` and other addresses. */
async function startPod(
  t: Test,
  root: string,
  args: readonly [string, string],
  changed: Readonly<Record<string, string>>,
  address: string
) {
  const [command, file] = args
  let text = await readFile(join(root, file), 'utf8')
  for (const [from, to] of Object.entries({ '/etc/kubernetes/': `${root}/etc/kubernetes/`, '/opt/': `${root}/opt/`, ...changed }))
    text = text.replaceAll(from, to)
  await writeFile(join(root, `${file}.moved`), text)
  const daemon = await startDaemon({
    command: process.execPath,
    args: ['src/main.ts', command, '--config', join(root, `${file}.moved`)],
    env: { NODE_OPTIONS: '' },
    probe: async () => void (await ask({ address }, { path: '/livez' }))
  })
  t.teardown(async () => void (await daemon.stop()))
}

for (const version of [containerd1, containerd2]) {
  test(`${version.title}: apply imports the image and pins it, and again when it was removed`, async t => {
    if (!ready(t, version)) return
    const { apply, ctr } = await nodeOf(t, version)
    const first = await apply()
    t.equal(first.code, 0, first.stderr)
    t.match(await ctr('images', 'ls', `name==${reference}`), /io\.cri-containerd\.pinned=pinned/)
    t.match(await apply(), { code: 0, stdout: /nothing to change\n$/ })
    await ctr('images', 'rm', '--sync', reference)
    t.match(await apply(), { code: 0, stdout: /^import image / })
    t.match(await ctr('images', 'ls', `name==${reference}`), /io\.cri-containerd\.pinned=pinned/)
  })

  test(`${version.title}: it takes config_path from the file that apply makes, and from one that apply changes`, async t => {
    if (!ready(t, version)) return
    const { root, apply } = await nodeOf(t, version)
    t.equal((await apply()).code, 0)
    const file = join(root, 'etc/containerd/config.toml')
    const dump = () => must(version.daemon, ['--config', file, 'config', 'dump'])
    t.match(await dump(), /config_path = ["']\/etc\/containerd\/registry\.d["']/)
    await writeFile(
      file,
      'version = 2\n[debug]\n  level = "warn"\n[plugins."io.containerd.grpc.v1.cri"]\n  max_container_log_line_size = 7\n'
    )
    t.match(await apply(), { code: 0, stdout: /write \/etc\/containerd\/config\.toml\n/ })
    const changed = await dump()
    t.match(changed, /config_path = ["']\/etc\/containerd\/registry\.d["']/)
    t.match(changed, /level = ["']warn["']/)
    t.match(changed, /max_container_log_line_size = 7/)
  })

  test(`${version.title}: it pulls by what apply wrote, through the agent, from the replica, without credentials of its own`, async t => {
    if (!ready(t, version)) return
    const { root, socket, apply } = await nodeOf(t, version)
    t.equal((await apply()).code, 0)
    const [replica, replicaAdmin, agent, agentAdmin] = [await freePort(), await freePort(), await freePort(), await freePort()].map(
      port => `127.0.0.1:${port}`
    ) as [string, string, string, string]
    const serve = { '10.0.0.1:5001': replica, '127.0.0.1:5002': replicaAdmin }
    await startPod(t, root, ['serve', 'etc/kubernetes/registry/serve.yaml'], serve, replicaAdmin)
    const balance = { '127.0.0.1:5001': agent, '127.0.0.1:5003': agentAdmin, '10.0.0.1:5001': replica }
    await startPod(t, root, ['agent', 'etc/kubernetes/registry-proxy/agent.yaml'], balance, agentAdmin)
    const { layout, image } = await makeSingle(join(root, 'made'))
    const push = ['copy', '--dest-tls-verify=false', '--dest-creds', `rw:${users.rw.password}`, `oci:${layout.folder}:image`]
    await skopeo([...push, `docker://${replica}/system/deckhouse/app:v1`])
    const hosts = join(root, 'hosts')
    await cp(join(root, 'etc/containerd/registry.d'), hosts, { recursive: true })
    const file = join(hosts, host, 'hosts.toml')
    await writeFile(file, (await readFile(file, 'utf8')).replace('https://127.0.0.1:5001', `https://${agent}`))
    const options = ['--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64']
    const pull = () => run(version.client, ['--address', socket, 'images', 'pull', ...options, `${host}/system/deckhouse/app:v1`])
    const { code, stderr } = await pull()
    t.equal(code, 0, stderr)
    t.match(await must(version.client, ['--address', socket, 'images', 'ls']), new RegExp(`app:v1 .*${image.digest}`))
    await writeFile(file, (await readFile(file, 'utf8')).replace(/Basic .*"/, 'Basic bm9kZTp3cm9uZw=="'))
    await must(version.client, ['--address', socket, 'images', 'rm', '--sync', `${host}/system/deckhouse/app:v1`])
    t.not((await pull()).code, 0, 'and by nothing less')
  })
}
