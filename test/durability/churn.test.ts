import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { type Server, startServer, temporaryFolder } from '../long/server.ts'
import { pull } from '../modes/client.ts'
import { describe, imageOf } from '../support/content.ts'
import { startUpstream, type TestUpstream, UpstreamContent } from '../support/upstream.ts'

const { budget, bytes: total, blob } = scale.churn
const [here, there] = ['system/deckhouse/app', 'deckhouse/ee/app']
// Somewhat more than twice what there is room for.
const images = (2 * budget) / blob
const clients = 4

const payload = (what: string) => Buffer.alloc(blob, `${what} `)
// One layer for all, one for each ten, one of its own.
const layersOf = (image: number) => ['shared', `family ${Math.floor(image / 10)}`, `own ${image}`]

/** Blobs that are made when they are asked for: together they are larger than a machine's memory may be. */
class MadeBlobs extends Map<string, Buffer> {
  readonly #whats = new Map<string, string>()

  know(what: string): string {
    const digest = `sha256:${createHash('sha256').update(payload(what)).digest('hex')}`
    this.#whats.set(digest, what)
    return digest
  }

  override get(digest: string): Buffer | undefined {
    const what = this.#whats.get(digest)
    return what === undefined ? undefined : payload(what)
  }
}

/** An upstream that has all images; resolves to the digests of their layers too. */
async function upstreamOfImages(t: Parameters<typeof startUpstream>[0]) {
  const [content, made] = [new UpstreamContent(), new MadeBlobs()]
  content.blobs.set(there, made)
  const digests = new Map<string, string>()
  for (let image = 0; image < images; image++) {
    const whats = layersOf(image)
    for (const what of whats) if (!digests.has(what)) digests.set(what, made.know(what))
    const [config = '', ...layers] = whats.map(payload)
    content.addManifest(there, imageOf('', [], { config: describe(config), layers: layers.map(each => describe(each)) }), {
      tag: `i${image}`
    })
  }
  return { upstream: await startUpstream(t, { content }), digests }
}

async function metrics({ admin }: Server): Promise<(name: string) => number> {
  const text = await (await fetch(`http://${admin}/metrics`)).text()
  return name =>
    Number(
      text
        .split('\n')
        .find(line => line.startsWith(`${name} `))
        ?.slice(name.length + 1) ?? 0
    )
}

/** Bytes of files below a root. */
async function bytesBelow(root: string): Promise<number> {
  let sum = 0
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (entry.isFile()) sum += (await stat(join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0
  }
  return sum
}

const downloads = ({ requests }: TestUpstream) => requests.filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'))

test(`a cache: ${total} bytes are fetched through a budget of ${budget}, which is never exceeded, and no image loses a layer (${repeat})`, {
  timeout: 0
}, async t => {
  const { upstream, digests } = await upstreamOfImages(t)
  const folder = await temporaryFolder(t)
  const registry = { mode: 'Proxy', proxy: { imagesRepo: `${new URL(upstream.url).host}/deckhouse/ee`, scheme: 'HTTP' } }
  const storage = { filesystem: { root: join(folder, 'root') }, budget, reserve: 0, inodeReserve: 0 }
  const sections = { registry, storage, gc: { grace: '0s' }, cache: { tagTTL: '1h' } }
  const server = await startServer(t, { folder, sections })
  const random = new Random(seed)
  let running = true
  let asked = 0
  const pullImage = async (): Promise<void> => {
    // Few images are asked for often, many hardly ever.
    const image = Math.floor(random.next() ** 3 * images)
    const { status } = await pull(server.address, `/v2/${here}/manifests/i${image}`)
    if (status !== 200) throw new Error(`a manifest was answered with ${status}`)
    for (const what of layersOf(image)) {
      const digest = digests.get(what)
      asked++
      const pulled = await pull(server.address, `/v2/${here}/blobs/${digest}`)
      if (pulled.digest !== digest) throw new Error(`${digest} was answered with ${pulled.status}, ${pulled.bytes} bytes`)
    }
  }
  let [mostCounted, mostFound] = [0, 0]
  const watching = (async () => {
    for (; running; await sleep(250)) {
      mostCounted = Math.max(mostCounted, (await metrics(server))('registry_storage_used_bytes'))
      mostFound = Math.max(mostFound, await bytesBelow(server.root))
    }
  })()
  const began = Date.now()
  const pulling = Array.from({ length: clients }, async () => {
    while (downloads(upstream).length * blob < total) await pullImage()
  })
  await Promise.all(pulling).finally(() => {
    running = false
  })
  await watching
  const of = await metrics(server)
  const outcome = (name: string) => of(`registry_cache_requests_total{route="blob",outcome="${name}"}`)
  const evicted = of('registry_cache_evictions_total{reason="room",kind="blob"}')
  t.comment(
    `${asked} blobs asked for in ${Math.round((Date.now() - began) / 1000)} s: ${outcome('hit')} hits (${Math.round((outcome('hit') / asked) * 100)} %), ` +
      `${outcome('miss')} misses, ${outcome('join')} joined, ${outcome('bypass')} bypassed; ${evicted} blobs evicted; ` +
      `${mostCounted} bytes at most as counted, ${mostFound} as found`
  )
  const room = budget + clients * blob
  t.ok(mostCounted <= room, `${mostCounted} bytes were counted`)
  t.ok(mostFound <= room, `${mostFound} bytes were found`)
  t.ok(outcome('hit') > 0)
  t.ok(evicted > 0)
  t.equal(of('registry_damaged_objects_total'), 0, 'no link leads to what is gone')
  const again = downloads(upstream).filter(({ path }) => path.endsWith(digests.get('shared') ?? '-')).length - 1
  t.ok(again <= outcome('bypass'), `what every image needs was never worth removing, but fetched ${again} times more`)
})
