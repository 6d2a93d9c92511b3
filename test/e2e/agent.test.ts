// containerd on a node knows one mirror, the agent at its loopback address, with TLS and a password of the node in
// `header`. What becomes of the replicas behind it is not the node's affair.
import { test } from 'tap'
import { ask, until } from '../src/support.ts'
import { pullsWhole, ready, reference, startScene } from './agent-scene.ts'
import { containerd1, containerd2 } from './containerd.ts'
import { startNode } from './modes-node.ts'

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
}
