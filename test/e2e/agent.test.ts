// containerd on a node knows one mirror, the agent at its loopback address, with TLS and a password of the node in
// `header`. What becomes of the replicas behind it is not the node's affair.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { securePool, startAgent } from '../agent/agent.ts'
import { type Image, makeImage, repository } from '../agent/content.ts'
import { startLoop } from '../agent/loop.ts'
import { hosts, type Replica, startReplicas } from '../agent/replicas.ts'
import type { ServerOptions } from '../long/server.ts'
import { ask, until } from '../src/support.ts'
import { type Containerd, containerd1, containerd2, containerd2Ranges, host } from './containerd.ts'
import { users } from './htpasswd.ts'
import { type Mode, type Node, startNode } from './modes-node.ts'
import { modeSettings, pushUpstream, startUpstream, upstreamName } from './modes-upstream.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import { hasTools, isRoot } from './tool.ts'

const reference = `${host}/${repository}:v1`
const MIB = 2 ** 20

function ready(t: Test, version: Containerd, ...more: readonly string[]): boolean {
  return isRoot(t) && hasTools(t, 'openssl', version.daemon, version.client, ...more)
}

interface SceneOptions {
  mode?: Mode
  size?: number
  /** Of each replica, a second; unlimited if left out. */
  egress?: string
}

/** Three replicas in a mode, an image that they have or their upstream has, and an agent before them. */
async function startScene(t: Test, { mode = 'Local', size = 4 * MIB, egress }: SceneOptions = {}) {
  const folder = await temporaryFolder(t)
  const pki = await makePki(folder, ['127.0.0.1', ...hosts])
  const image = await makeImage(join(folder, 'image'), size)
  const images = mode === 'Local' ? [image] : []
  const sections = {
    ...(mode === 'Local' ? {} : await upstreamSections(t, mode, image)),
    ...(egress === undefined ? {} : { limits: { egress } })
  }
  const replicas = await startReplicas(t, { folder, pki, images, sections })
  const pool = await securePool(replicas, pki, folder)
  const passwordFile = join(folder, 'node-password')
  await writeFile(passwordFile, users.ro.password)
  const tls = { certificate: pki.certificate, key: pki.key }
  const agent = await startAgent(t, { pools: [pool], more: { tls, clients: { username: 'ro', passwordFile } } })
  return { image, replicas, pool, agent, passwordFile, registry: { address: agent.address, ca: pki.ca } }
}

async function upstreamSections(t: Test, mode: Mode, { sample }: Image): Promise<ServerOptions['sections']> {
  const upstream = await startUpstream(t)
  await pushUpstream(upstream, sample, 'v1')
  const { registry, cache } = await modeSettings(mode, upstream)
  return { registry: { ...registry }, cache: { ...cache } }
}

/** Pulls, checks that the node holds the whole image and nothing else, and removes it again. */
async function pullsWhole(t: Test, node: Node, { sample }: Image, what: string): Promise<void> {
  const { code, stderr } = await node.pull(reference)
  if (code !== 0) return void t.fail(`${what}: ${stderr}`)
  t.same(await node.content(), await sample.layout.digests(), what)
  await node.forget()
}

for (const version of [containerd1, containerd2]) {
  for (const mode of ['Local', 'Proxy', 'Direct'] as const) {
    test(`${version.title}: ctr and crictl pull through the agent from ${mode}, also when replicas die`, async t => {
      if (!ready(t, version, 'crictl', ...(mode === 'Local' ? [] : ['skopeo', 'docker-registry']))) return
      const { image, replicas, agent, registry } = await startScene(t, { mode })
      const crictl = await startNode(t, version, 'crictl', registry, 'Local')
      const ctr = await startNode(t, version, 'ctr', registry, 'Local')
      await pullsWhole(t, crictl, image, 'crictl')
      await pullsWhole(t, ctr, image, 'ctr')
      await replicas[0].kill()
      await pullsWhole(t, crictl, image, 'crictl, without the first replica')
      replicas[1].freeze()
      await pullsWhole(t, ctr, image, 'ctr, with the second one frozen as well')
      await replicas[2].kill()
      t.not((await ctr.pull(reference)).code, 0, 'a pull without any replica fails')
      replicas[1].thaw()
      // Until it has answered the agent once, pulls are told to come again.
      await until(async () => (await ask(agent.admin, 'GET', '/readyz')).status === 200)
      await pullsWhole(t, crictl, image, 'crictl, with one replica again')
    })
  }

  test(`${version.title}: pools are switched by reload under a loop of pulls, also to the upstream itself: none fails`, async t => {
    if (!ready(t, version, 'skopeo', 'docker-registry')) return
    const { image, pool, agent, registry, passwordFile } = await startScene(t, { size: 16 * MIB, egress: '64MiB' })
    const upstream = await startUpstream(t)
    await pushUpstream(upstream, image.sample, 'v1')
    const [own, others] = [
      { ...pool, replicas: pool.replicas.slice(0, 1) },
      { ...pool, replicas: pool.replicas.slice(1) }
    ]
    const beyond = { imagesRepo: `${upstream.address}/${upstreamName}`, caFile: upstream.ca, username: 'ro', passwordFile }
    const node = await startNode(t, version, 'ctr', registry, 'Local')
    const pulling = startLoop(t, () => pullOnce(node, image))
    for (const pools of [[own, others], [others], [others, beyond], [beyond], [beyond, own], [own]]) {
      const last = await agent.change(pools)
      t.equal(last.result, 'applied', JSON.stringify(last))
      // One that began with the pools before, and one of these alone.
      await pulling.turns(2)
    }
    const { count, failures } = await pulling.stop()
    t.same(failures, [])
    t.comment(`${count} pulls`)
  })
}

/** Pulls once, removes what came, and says what went wrong. */
async function pullOnce(node: Node, { sample }: Image): Promise<string[]> {
  const { code, stderr } = await node.pull(reference)
  if (code !== 0) return [stderr]
  const whole = `${await node.content()}` === `${await sample.layout.digests()}`
  await node.forget()
  return whole ? [] : ['the image is not whole']
}

/** How many ranges of blobs a replica has answered, from its log. */
function ranges(replica: Replica): number {
  return replica.log().match(/"status":206[,}]/g)?.length ?? 0
}

for (const [what, strike] of [
  ['dies', (replica: Replica) => replica.kill()],
  ['freezes', (replica: Replica) => replica.freeze()]
] as const) {
  test(`${containerd2Ranges.title}: a replica ${what} while ranges of a layer come from it: the pull ends right`, async t => {
    const version = containerd2Ranges
    if (!ready(t, version)) return
    const { image, replicas, registry } = await startScene(t, { size: 48 * MIB, egress: '24MiB' })
    const node = await startNode(t, version, 'ctr', registry, 'Local')
    let ended = false
    const pulling = pullsWhole(t, node, image, `a pull while a replica ${what}`).finally(() => {
      ended = true
    })
    // A range is logged when it has ended: others of the same layer are under way.
    while (!ended && ranges(replicas[0]) < 10) await sleep(20)
    t.equal(ended, false, 'the pull is under way')
    await strike(replicas[0])
    await pulling
    t.ok(ranges(replicas[1]) + ranges(replicas[2]) > 0, 'the others have answered the rest')
    if (what === 'freezes') replicas[0].thaw()
  })
}
