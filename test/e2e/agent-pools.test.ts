// What becomes of a node's pulls while the pools of its agent are switched, and of the ranges of a layer whose replica
// dies: containerd gives up a layer of which one range fails.
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import type { Image } from '../agent/content.ts'
import { startLoop } from '../agent/loop.ts'
import type { Replica } from '../agent/replicas.ts'
import { MIB } from '../agent/scene.ts'
import { pullsWhole, ready, reference, startScene } from './agent-scene.ts'
import { containerd1, containerd2, containerd2Ranges } from './containerd.ts'
import { type Node, startNode } from './modes-node.ts'
import { pushUpstream, startUpstream, upstreamName } from './modes-upstream.ts'

for (const version of [containerd1, containerd2]) {
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
