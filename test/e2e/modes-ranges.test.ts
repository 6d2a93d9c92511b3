import { join } from 'node:path'
import { test } from 'tap'
import { containerd2Ranges, host } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import type { Puller } from './modes-node.ts'
import { startNode } from './modes-node.ts'
import { startRelay } from './modes-relay.ts'
import { downloads, modeSettings, onceEach, pushUpstream, startUpstream } from './modes-upstream.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Registry } from './registry.ts'
import { startProduct } from './registry.ts'
import { hasTools, isRoot } from './tool.ts'

const version = containerd2Ranges

// So slow that the ranges of a blob are asked for while it is being downloaded: a layer of 5 MiB takes some seconds.
const rate = 2 << 20

/** How many ranges of blobs the registry has answered, from its log. */
function ranges(registry: Registry): number {
  return registry.log().match(/"status":206[,}]/g)?.length ?? 0
}

for (const puller of ['ctr', 'crictl'] as const satisfies Puller[]) {
  test(`${version.title}, ${puller}: through a cold Proxy every blob is downloaded once`, async t => {
    if (
      !isRoot(t) ||
      !hasTools(t, 'skopeo', 'openssl', 'docker-registry', version.daemon, version.client, ...(puller === 'ctr' ? [] : [puller]))
    )
      return
    const folder = await temporaryFolder(t)
    const upstream = await startUpstream(t)
    const sample = await makeSingle(join(folder, 'made'))
    await pushUpstream(upstream, sample, 'v1')
    const relay = await startRelay(t, upstream.address, rate)
    const settings = await modeSettings('Proxy', upstream, relay.address)
    const registry = await startProduct(t, { root: await temporaryFolder(t), pki: await makePki(folder), users, settings })
    const node = await startNode(t, version, puller, registry, 'Proxy')
    t.match(await node.pull(`${host}/system/deckhouse:v1`), { code: 0 })
    t.same(await node.content(), await sample.layout.digests(), 'the node holds the whole image')
    // 5 MiB and 2 MiB in pieces of 256 KiB; a client that asked for whole blobs would show nothing here.
    t.ok(ranges(registry) > 20, `the node asked for ${ranges(registry)} ranges`)
    t.same(await downloads(upstream), await onceEach(sample))
  })
}
