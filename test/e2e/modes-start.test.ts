import { join } from 'node:path'
import { test } from 'tap'
import { containerd1, host } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import { startNode } from './modes-node.ts'
import { modeSettings, pushUpstream, startUpstream } from './modes-upstream.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import { startProduct } from './registry.ts'
import { ask } from './request.ts'
import { hasTools, isRoot } from './tool.ts'

const version = containerd1
const authorization = `Basic ${Buffer.from(`ro:${users.ro.password}`).toString('base64')}`

test('Proxy: with its upstream down at the start the registry is ready, serves what is cached and says that it is stale', async t => {
  if (!isRoot(t) || !hasTools(t, 'skopeo', 'openssl', 'docker-registry', version.daemon, version.client)) return
  const folder = await temporaryFolder(t)
  const upstream = await startUpstream(t)
  const sample = await makeSingle(join(folder, 'made'))
  await pushUpstream(upstream, sample, 'v1')
  const options = {
    root: await temporaryFolder(t),
    pki: await makePki(folder),
    users,
    settings: await modeSettings('Proxy', upstream)
  }
  const before = await startProduct(t, options)
  const reference = `${host}/system/deckhouse:v1`
  t.match(await (await startNode(t, version, 'ctr', before, 'Proxy')).pull(reference), { code: 0 }, 'cached')
  await before.stop()
  await upstream.stop()

  const registry = await startProduct(t, options)
  t.equal((await ask({ address: registry.admin }, { path: '/readyz' })).status, 200)
  const node = await startNode(t, version, 'ctr', registry, 'Proxy')
  for (const wanted of [reference, `${host}/system/deckhouse@${sample.image.digest}`]) {
    t.match(await node.pull(wanted), { code: 0 }, wanted)
    t.same(await node.content(), await sample.layout.digests(), 'the node holds the whole image')
    await node.forget()
  }
  const answer = await ask(registry, { path: '/v2/system/deckhouse/manifests/v1', headers: { authorization } })
  t.match(answer, { status: 200, headers: { warning: /^299 - "stale: / } })
  const absent = await ask(registry, { path: '/v2/system/deckhouse/manifests/other', headers: { authorization } })
  t.ok(absent.status >= 500, `what is not cached is no 404 but ${absent.status}: nobody knows whether it exists`)
})
