import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Descriptor } from '../../../src/oci/descriptor.ts'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { partsOf, type WalkOptions, walkGraph } from '../../../src/oci/graph.ts'
import { readManifest } from '../../../src/oci/manifest.ts'

const imageType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'
const never = new AbortController().signal

/** Manifests by the name that the tests give them; blobs have names only. */
class Graph {
  readonly manifests = new Map<Digest, Uint8Array>()
  readonly names = new Map<Digest, string>()
  readonly blobs = new Set<Digest>()
  readonly reads: string[] = []

  blob(name: string, mediaType = 'application/vnd.test.blob'): Descriptor {
    const digest = digestOf(Buffer.from(name))
    this.names.set(digest, name)
    this.blobs.add(digest)
    return { mediaType, digest, size: name.length }
  }

  add(name: string, json: object, as?: Digest): Descriptor {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...json, annotations: { name } }))
    const digest = as ?? digestOf(bytes)
    this.manifests.set(digest, bytes)
    this.names.set(digest, name)
    return { mediaType: 'manifests' in json ? indexType : imageType, digest, size: bytes.length }
  }

  image(name: string, layers: Descriptor[], more: object = {}): Descriptor {
    return this.add(name, { config: this.blob(`${name}.config`), layers, ...more })
  }

  index(name: string, manifests: object[], as?: Digest): Descriptor {
    return this.add(name, { manifests }, as)
  }

  /** Walks, and gives the names of what was visited, in order. */
  async walk(root: Descriptor, options: Partial<WalkOptions> = {}): Promise<string[]> {
    const visited: string[] = []
    await walkGraph(
      { descriptor: root },
      {
        order: 'children-first',
        signal: never,
        ...options,
        read: async ({ descriptor: { digest } }) => {
          this.reads.push(this.names.get(digest) ?? '')
          return this.manifests.get(digest) ?? (this.blobs.has(digest) ? 'blob' : undefined)
        },
        visit: async (node, signal) => {
          await options.visit?.(node, signal)
          visited.push(this.names.get(node.descriptor.digest) ?? '')
        }
      }
    )
    return visited
  }
}

const on = (descriptor: Descriptor, architecture: string, variant?: string) => ({
  ...descriptor,
  platform: { os: 'linux', architecture, ...(variant ? { variant } : {}) }
})

/** An index of two images that share a layer. */
function twoPlatforms(graph: Graph) {
  const shared = graph.blob('shared')
  const amd = graph.image('amd', [shared, graph.blob('amd.layer')])
  const arm = graph.image('arm', [shared])
  return graph.index('index', [on(amd, 'amd64'), on(arm, 'arm64', 'v8')])
}

t.test('each digest is visited once, its parts before it, in the order of the manifest', async t => {
  const graph = new Graph()
  const visited = await graph.walk(twoPlatforms(graph))
  t.strictSame(visited, ['amd.config', 'shared', 'amd.layer', 'amd', 'arm.config', 'arm', 'index'])
  t.strictSame(graph.reads, ['index', 'amd', 'arm'])
})

t.test('with parents first a manifest is visited before anything below it', async t => {
  const graph = new Graph()
  const visited = await graph.walk(twoPlatforms(graph), { order: 'parents-first' })
  t.strictSame(visited, ['index', 'amd', 'amd.config', 'shared', 'amd.layer', 'arm', 'arm.config'])
})

t.test('children of other platforms are neither read nor visited, and a platform without a variant takes all variants', async t => {
  const graph = new Graph()
  t.strictSame(await graph.walk(twoPlatforms(graph), { platforms: ['linux/arm64'] }), ['arm.config', 'shared', 'arm', 'index'])
  t.strictSame(graph.reads, ['index', 'arm'])
})

t.test('a blob that an index lists is visited once, with its role, before the index, and whatever the platform', async t => {
  const graph = new Graph()
  const [layer, config] = [graph.blob('layer', 'application/vnd.oci.image.layer.v1.tar+gzip'), graph.blob('cacheconfig')]
  const named = graph.blob('named as a manifest', imageType)
  const image = graph.image('image', [layer])
  const root = graph.index('index', [layer, config, named, on(image, 'amd64')])
  for (const concurrency of [1, 3]) {
    const roles: string[] = []
    const visit: WalkOptions['visit'] = async node => {
      await turn()
      if (node.kind === 'blob') roles.push(`${node.role} ${graph.names.get(node.descriptor.digest)}`)
    }
    const visited = await graph.walk(root, { visit, concurrency })
    t.strictSame(visited.toSorted(), ['cacheconfig', 'image', 'image.config', 'index', 'layer', 'named as a manifest'])
    t.strictSame(visited.slice(-1), ['index'])
    t.strictSame(roles.toSorted(), ['child cacheconfig', 'child layer', 'child named as a manifest', 'config image.config'])
  }
  t.strictSame(await graph.walk(root, { platforms: ['linux/arm64'] }), ['layer', 'cacheconfig', 'index'], 'no manifest for none')
  const parentsFirst = await graph.walk(root, { order: 'parents-first' })
  t.strictSame(parentsFirst.slice(0, 4), ['index', 'layer', 'cacheconfig', 'named as a manifest'])
})

t.test('the visit of a blob that an index lists may fail, and ends the walk', async t => {
  const graph = new Graph()
  const root = graph.index('index', [graph.blob('layer'), graph.blob('other')])
  const visit: WalkOptions['visit'] = async node => {
    if (node.kind === 'blob') throw new Error('no bytes')
  }
  await t.rejects(graph.walk(root, { visit, concurrency: 2 }), /no bytes/)
})

t.test('manifests that have waited for the same blob are not visited all at once when it is done', async t => {
  const graph = new Graph()
  const config = graph.blob('shared')
  const images = Array.from({ length: 20 }, (_, at) => graph.add(`image ${at}`, { config, layers: [] }))
  const root = graph.index('index', images)
  const discovered = Promise.withResolvers<void>()
  let [running, most] = [0, 0]
  const visit: WalkOptions['visit'] = async node => {
    most = Math.max(most, ++running)
    if (node.kind === 'blob') await discovered.promise
    else await turn()
    running--
  }
  const walk = graph.walk(root, { concurrency: 2, visit })
  while (graph.reads.length < 21) await turn()
  discovered.resolve()
  t.equal((await walk).length, 22)
  t.equal(most, 2)
})

t.test(
  'few manifests are held while they wait for a blob that they share, and the walk goes on when it is done',
  { timeout: 20_000 },
  async t => {
    for (const order of ['children-first', 'parents-first'] as const) {
      const graph = new Graph()
      const config = graph.blob('shared')
      const images = Array.from({ length: 1000 }, (_, at) => graph.add(`image ${at}`, { config, layers: [] }))
      const root = graph.index('index', images)
      const shared = Promise.withResolvers<void>()
      const visit: WalkOptions['visit'] = node => (node.kind === 'blob' ? shared.promise : undefined)
      const walk = graph.walk(root, { order, concurrency: 8, visit })
      let [before, reads] = [-1, 0]
      while (reads !== before) {
        for (let turns = 0; turns < 10; turns++) await turn()
        ;[before, reads] = [reads, graph.reads.length]
      }
      t.ok(reads > 8 && reads <= 33, `${reads}`)
      shared.resolve()
      t.equal((await walk).length, 1002)
    }
  }
)

t.test('a concurrency below 1 is refused', async t => {
  const graph = new Graph()
  for (const concurrency of [0, -1, Number.NaN])
    await t.rejects(graph.walk(graph.image('image', []), { concurrency }), { name: 'RangeError', message: /concurrency/ })
})

t.test('a manifest that is passed over hides what is below it, and nothing else', async t => {
  const graph = new Graph()
  const root = twoPlatforms(graph)
  for (const [digest, name] of graph.names) if (name === 'amd') graph.manifests.delete(digest)
  t.strictSame(await graph.walk(root), ['arm.config', 'shared', 'arm', 'index'])
})

t.test('a cycle of manifests ends, in either order and with visits side by side', { timeout: 10_000 }, async t => {
  for (const order of ['children-first', 'parents-first'] as const) {
    for (const concurrency of [1, 4]) {
      const graph = new Graph()
      const [a, b, c] = ['a', 'b', 'c'].map(each => digestOf(Buffer.from(`cycle ${each}`))) as [Digest, Digest, Digest]
      const to = (digest: Digest) => ({ mediaType: indexType, digest, size: 1 })
      const root = graph.index('a', [to(b), to(c), to(a)], a)
      graph.index('b', [to(c), to(a)], b)
      graph.index('c', [to(b), to(a)], c)
      t.strictSame((await graph.walk(root, { order, concurrency })).sort(), ['a', 'b', 'c'])
    }
  }
})

t.test('a chain of indexes that is too deep is refused, and one of any depth costs no stack', async t => {
  const graph = new Graph()
  let root = graph.image('image', [])
  for (let level = 1; level <= 5_000; level++) root = graph.index(`${level}`, [root])
  await t.rejects(graph.walk(root), { code: 'MANIFEST_INVALID' })
  t.equal((await graph.walk(root, { maxDepth: Number.POSITIVE_INFINITY })).length, 5_002)
})

t.test('side by side no more visits run than allowed, and a manifest still waits for its parts', async t => {
  const graph = new Graph()
  const layers = Array.from({ length: 12 }, (_, at) => graph.blob(`layer ${at}`))
  const images = [graph.image('one', layers), graph.image('two', layers.toReversed())]
  const root = graph.index('index', images)
  const ended = new Set<string>()
  let [running, most] = [0, 0]
  const visit: WalkOptions['visit'] = async node => {
    most = Math.max(most, ++running)
    if (node.kind === 'manifest' && node.parsed) {
      const parts = partsOf(node.parsed).map(each => each.descriptor.digest)
      t.ok(parts.every(each => ended.has(each)))
    }
    for (let turns = node.descriptor.size; turns > 0; turns--) await turn()
    ended.add(node.descriptor.digest)
    running--
  }
  t.equal((await graph.walk(root, { visit, concurrency: 3 })).length, 17)
  t.equal(most, 3)
})

t.test('the first error ends the walk: what runs is told, waited for, and nothing new is begun', async t => {
  const graph = new Graph()
  const root = graph.image('image', [graph.blob('slow'), graph.blob('bad'), graph.blob('never')])
  const begun: string[] = []
  let slowEnded = false
  const visit: WalkOptions['visit'] = async ({ descriptor }, signal) => {
    const name = graph.names.get(descriptor.digest) ?? ''
    begun.push(name)
    if (name === 'bad') throw new Error('bad')
    if (name !== 'slow') return
    await new Promise(resolve => signal.addEventListener('abort', resolve))
    slowEnded = true
  }
  await t.rejects(graph.walk(root, { visit, concurrency: 2 }), { message: 'bad' })
  t.ok(slowEnded)
  t.strictSame(begun, ['image.config', 'slow', 'bad'])
})

t.test('a walk whose signal is aborted rejects with its reason', async t => {
  const graph = new Graph()
  const left = new AbortController()
  const visit = () => left.abort(new Error('left'))
  await t.rejects(graph.walk(twoPlatforms(graph), { visit, signal: left.signal }), { message: 'left' })
})

t.test('referrers come after their subjects, with their own referrers; a subject is followed only where it is asked for', async t => {
  const graph = new Graph()
  const image = graph.image('image', [])
  const sbom = graph.image('sbom', [], { subject: image })
  const signature = graph.image('signature', [], { subject: sbom })
  const referrers = async (subject: Digest) => (subject === image.digest ? [sbom] : subject === sbom.digest ? [signature] : [])
  for (const concurrency of [1, 4]) {
    const visited = await graph.walk(image, { referrers, concurrency })
    t.strictSame(
      visited.filter(each => !each.endsWith('config')),
      ['image', 'sbom', 'signature']
    )
  }
  t.strictSame(await graph.walk(signature), ['signature.config', 'signature'])
  t.strictSame(await graph.walk(sbom, { subjects: 'follow' }), ['sbom.config', 'image.config', 'image', 'sbom'])
})

t.test('blobs with URLs of their own are marked, and the first blob is the config', async t => {
  const graph = new Graph()
  const foreign = graph.blob('foreign', 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')
  const { digest } = graph.image('image', [foreign])
  const parsed = readManifest(graph.manifests.get(digest) ?? Buffer.alloc(0))
  t.match(parsed && partsOf(parsed), [
    { kind: 'blob', role: 'config', nonDistributable: false },
    { kind: 'blob', role: 'layer', nonDistributable: true }
  ])
})

t.test('what is no manifest that is known is visited, and leads nowhere', async t => {
  const graph = new Graph()
  const digest = digestOf(Buffer.from('other'))
  graph.manifests.set(digest, Buffer.from('other'))
  graph.names.set(digest, 'other')
  t.strictSame(await graph.walk({ mediaType: 'application/x', digest, size: 5 }), ['other'])
})
