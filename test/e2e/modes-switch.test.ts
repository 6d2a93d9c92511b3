import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { test } from 'tap'
import { containerd1, containerd2, host } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import { makeLarge } from './modes-image.ts'
import { startNode } from './modes-node.ts'
import type { Relay } from './modes-relay.ts'
import { startRelay } from './modes-relay.ts'
import { contentFolder, downloads, modeSettings, onceEach, pushUpstream, startUpstream } from './modes-upstream.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Product, Registry } from './registry.ts'
import { startProduct } from './registry.ts'
import { ask } from './request.ts'
import { hasTools, isRoot } from './tool.ts'

// The size of the large image; where everything is tested at once, an eighth of it.
const size = process.env['CI'] === undefined ? 1 << 30 : 128 << 20
// So slow that the pull cannot end before the relay is let go.
const rate = size / 200
const repository = `${host}/system/deckhouse`

/** Every file that clients can read something from, with its size. */
async function stored(root: string): Promise<string[]> {
  const folder = contentFolder(root)
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(each => each.isFile())
  const paths = files.map(({ parentPath, name }) => join(parentPath, name))
  return (await Promise.all(paths.map(async path => `${path.slice(folder.length)} ${(await stat(path)).size}`))).sort()
}

/** Resolves once the large blob is on its way and so many others have arrived and are stored. */
async function underWay({ registry, upstream, relay, before }: Pulling): Promise<void> {
  const passed = relay.passed + size / 500
  while (relay.passed < passed || Object.keys(await downloads(upstream)).length < before || (await fills(registry)) !== 1) await sleep(50)
}

interface Pulling {
  registry: Product
  upstream: Registry
  relay: Relay
  before: number
}

async function fills(registry: Product): Promise<number> {
  const answer = await ask({ address: registry.admin }, { path: '/status' })
  const status: { fills: { running: number } } = JSON.parse(answer.body.toString())
  return status.fills.running
}

async function prepare(t: Test, tags: readonly string[]) {
  const folder = await temporaryFolder(t)
  const upstream = await startUpstream(t)
  const relay = await startRelay(t, upstream.address, Number.POSITIVE_INFINITY)
  const large = await makeLarge(join(folder, 'large'), size)
  await pushUpstream(upstream, large, 'large')
  for (const tag of tags) await pushUpstream(upstream, await makeSingle(join(folder, tag)), tag)
  const settings = await modeSettings('Proxy', upstream, relay.address)
  const registry = await startProduct(t, { root: await temporaryFolder(t), pki: await makePki(folder), users, settings })
  return { upstream, relay, large, registry }
}

for (const version of [containerd1, containerd2]) {
  test(`${version.title}: a pull of ${size >> 20} MiB goes on while the mode changes Proxy, Local, Direct, Proxy, and each mode serves`, async t => {
    if (!isRoot(t) || !hasTools(t, 'skopeo', 'openssl', 'docker-registry', version.daemon, version.client)) return
    const { upstream, relay, large, registry } = await prepare(t, ['cached', 'direct', 'proxy'])
    // The second node's containerd has not seen what the first has.
    const [first, second] = [await startNode(t, version, 'ctr', registry, 'Proxy'), await startNode(t, version, 'ctr', registry, 'Proxy')]
    t.match(await first.pull(`${repository}:cached`), { code: 0 }, 'Proxy serves and keeps an image')
    const cached = Object.keys(await downloads(upstream)).length

    relay.rate = rate
    let ended = false
    const pulling = first.pull(`${repository}:large`).finally(() => {
      ended = true
    })
    await underWay({ registry, upstream, relay, before: cached + 2 })
    const before = await stored(registry.root)

    await registry.reconfigure(await modeSettings('Local', upstream))
    t.match(await second.pull(`${repository}:cached`), { code: 0 }, 'Local serves what Proxy has cached')
    t.not((await second.pull(`${repository}:direct`)).code, 0, 'and nothing else')
    await registry.reconfigure(await modeSettings('Direct', upstream))
    t.match(await second.pull(`${repository}:direct`), { code: 0 }, 'Direct serves what is nowhere but upstream')
    t.same(await stored(registry.root), before, 'and neither has changed what is stored')
    await registry.reconfigure(await modeSettings('Proxy', upstream))
    t.match(await second.pull(`${repository}:proxy`), { code: 0 }, 'Proxy serves what is new')
    t.equal(ended, false, 'all the while the large pull was running')

    relay.rate = Number.POSITIVE_INFINITY
    t.match(await pulling, { code: 0 }, 'the large pull has succeeded')
    const after = new Set(await stored(registry.root))
    t.same(
      before.filter(each => !after.has(each)),
      [],
      'everything that was stored still is'
    )
    t.match(await downloads(upstream), await onceEach(large), 'each blob of the large image was downloaded once')
    t.match(await second.pull(`${repository}:large`), { code: 0 }, 'and is there for the next')
    t.match(await downloads(upstream), await onceEach(large), 'without a further download')
  })
}
