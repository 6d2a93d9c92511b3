import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { containerd1, containerd2, host } from './containerd.ts'
import { users } from './htpasswd.ts'
import type { SampleImage } from './image.ts'
import { makeSingle } from './image.ts'
import type { Node, Puller } from './modes-node.ts'
import { startNode } from './modes-node.ts'
import { answered, contentFolder, downloads, modeSettings, onceEach, pushUpstream, startUpstream } from './modes-upstream.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Product, Registry } from './registry.ts'
import { startProduct } from './registry.ts'
import { hasTools, isRoot } from './tool.ts'

const tag = `${host}/system/deckhouse:v1`

interface Scene {
  upstream: Registry
  registry: Product
  sample: SampleImage
}

/** An upstream that holds an image, and the registry in front of it, both with TLS and Basic auth. */
async function prepare(t: Test, mode: 'Direct' | 'Proxy'): Promise<Scene> {
  const folder = await temporaryFolder(t)
  const upstream = await startUpstream(t)
  const sample = await makeSingle(join(folder, 'made'))
  await pushUpstream(upstream, sample, 'v1')
  const settings = await modeSettings(mode, upstream)
  const registry = await startProduct(t, { root: await temporaryFolder(t), pki: await makePki(folder), users, settings })
  return { upstream, registry, sample }
}

async function arrives(t: Test, node: Node, reference: string, { layout }: SampleImage): Promise<void> {
  t.match(await node.pull(reference), { code: 0 }, reference)
  t.same(await node.content(), await layout.digests(), 'the node holds the whole image')
  await node.forget()
  t.same(await node.content(), [], 'and nothing any more')
}

for (const version of [containerd1, containerd2]) {
  for (const puller of ['ctr', 'crictl'] as const satisfies Puller[]) {
    const ready = (t: Test) =>
      isRoot(t) &&
      hasTools(t, 'skopeo', 'openssl', 'docker-registry', version.daemon, version.client, ...(puller === 'ctr' ? [] : [puller]))

    test(`${version.title}, ${puller}: in Direct each blob comes from the upstream once a pull, and nothing is stored`, async t => {
      if (!ready(t)) return
      const { upstream, registry, sample } = await prepare(t, 'Direct')
      const node = await startNode(t, version, puller, registry, 'Direct')
      await arrives(t, node, tag, sample)
      t.same(await downloads(upstream), await onceEach(sample))
      t.same(await readdir(contentFolder(registry.root), { recursive: true }).catch(() => []), [])
    })

    test(`${version.title}, ${puller}: in Proxy each blob is downloaded once, a warm pull by digest asks nothing, and pulls outlive the upstream`, async t => {
      if (!ready(t)) return
      const { upstream, registry, sample } = await prepare(t, 'Proxy')
      const node = await startNode(t, version, puller, registry, 'Proxy')
      await arrives(t, node, tag, sample)
      t.same(await downloads(upstream), await onceEach(sample), 'cold: one GET a blob')
      const before = await answered(upstream)
      await arrives(t, node, `${host}/system/deckhouse@${sample.image.digest}`, sample)
      t.same(await answered(upstream), before, 'warm by digest: no request at all')
      await arrives(t, node, tag, sample)
      t.same(await downloads(upstream), await onceEach(sample), 'warm by tag: no further blob')
      await upstream.stop()
      await arrives(t, node, tag, sample)
      await arrives(t, node, `${host}/system/deckhouse@${sample.image.digest}`, sample)
    })

    test(`${version.title}, ${puller}: Local serves what Proxy has cached, without the upstream`, async t => {
      if (!ready(t)) return
      const { upstream, registry, sample } = await prepare(t, 'Proxy')
      const node = await startNode(t, version, puller, registry, 'Local')
      await arrives(t, node, tag, sample)
      await registry.reconfigure(await modeSettings('Local', upstream))
      await upstream.stop()
      await arrives(t, node, tag, sample)
    })
  }
}
