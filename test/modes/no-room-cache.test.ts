import { test } from 'tap'
import { type Answer, ask, bytesOf, digestOf, metric, openFiles, until } from '../src/support.ts'
import { startUpstream, type TestUpstream } from '../support/upstream.ts'
import { enough, isInOrder, onNarrow, onTmpfs, withEachRoom } from './no-room.ts'
import { behind, type Changeable, prefix, serveModes } from './scene.ts'

const layer = 20_000

/** One way in which a cache comes to write: what is asked for before the disk runs full, and what while it does. */
interface Way {
  /** How long a tag is fresh. */
  tagTTL: string
  begin(served: Changeable, upstream: TestUpstream, name: string): Promise<Wanted>
}

/** A path, and the digest of the bytes that everybody has to get who asks for it. */
interface Wanted {
  path: string
  digest: string
  /** Whether it is stored, as far as the metrics tell. */
  stored(): Promise<boolean>
}

const here = (name: string) => `/v2/${prefix.here}/${name}`
const there = (name: string) => `${prefix.there}/${name}`

async function stored(served: Changeable, path: string): Promise<boolean> {
  await until(async () => (await metric(served, 'registry_fills_running')) === 0)
  const route = path.includes('/blobs/') ? 'blob' : 'manifest'
  const hits = () => metric(served, 'registry_cache_requests_total', `{route="${route}",outcome="hit"}`)
  const before = (await hits()) ?? 0
  await ask(served.listen, 'GET', path)
  return ((await hits()) ?? 0) > before
}

const wanted = (served: Changeable, path: string, digest: string): Wanted => ({ path, digest, stored: () => stored(served, path) })

const ways: Record<string, Way> = {
  'a blob': {
    tagTTL: '1h',
    begin: async (served, upstream, name) => {
      const digest = upstream.addBlob(there(name), bytesOf(layer))
      return wanted(served, `${here(name)}/blobs/${digest}`, digest)
    }
  },
  'a blob that another repository has': {
    tagTTL: '1h',
    begin: async (served, upstream, name) => {
      const bytes = bytesOf(layer)
      const digest = upstream.addBlob(there(`first-${name}`), bytes)
      await ask(served.listen, 'GET', `${here(`first-${name}`)}/blobs/${digest}`)
      await until(async () => (await metric(served, 'registry_fills_running')) === 0)
      upstream.addBlob(there(name), bytes)
      return wanted(served, `${here(name)}/blobs/${digest}`, digest)
    }
  },
  'a manifest by its tag': {
    tagTTL: '1h',
    begin: async (served, upstream, name) => {
      const { digest } = upstream.addImage(there(name), 'v1', { subject: { mediaType: 'a/b', digest: digestOf(name), size: 1 } })
      return wanted(served, `${here(name)}/manifests/v1`, digest)
    }
  },
  'a manifest by its digest': {
    tagTTL: '1h',
    begin: async (served, upstream, name) => {
      const { digest } = upstream.addImage(there(name), 'v1')
      return wanted(served, `${here(name)}/manifests/${digest}`, digest)
    }
  },
  'a tag that upstream moved': {
    tagTTL: '0s',
    begin: async (served, upstream, name) => {
      upstream.addImage(there(name), 'v1')
      await ask(served.listen, 'GET', `${here(name)}/manifests/v1`)
      const { digest } = upstream.addImage(there(name), 'v1')
      return wanted(served, `${here(name)}/manifests/v1`, digest)
    }
  },
  'a tag that is asked for again': {
    tagTTL: '0s',
    begin: async (served, upstream, name) => {
      const { digest } = upstream.addImage(there(name), 'v1')
      await ask(served.listen, 'GET', `${here(name)}/manifests/v1`)
      return wanted(served, `${here(name)}/manifests/v1`, digest)
    }
  }
}

for (const [way, { tagTTL, begin }] of Object.entries(ways)) {
  test(`Proxy, ${way}, on a disk that runs full at each step of keeping it: everybody gets the right bytes, and it is kept once there is room`, async t => {
    onNarrow(
      t,
      way,
      async (t, disk) => {
        const upstream = await startUpstream(t)
        const sections = { registry: behind('Proxy', upstream), cache: { tagTTL } }
        const right = (answer: Answer, { digest, path }: Wanted, when: string) => {
          if (answer.status !== 200 || digestOf(answer.body) !== digest)
            t.fail(`${when}: ${answer.status} ${path}`, { body: `${answer.body}` })
        }
        const all: Wanted[] = []
        await withEachRoom(t, disk, async rooms => {
          // A registry of its own, since one that found the disk full does not try to store for a while.
          const served = await serveModes(t, sections, disk.root)
          const each = await begin(served, upstream, `r${rooms}`)
          all.push(each)
          disk.leave(rooms)
          const answers = await Promise.all([1, 2, 3].map(() => ask(served.listen, 'GET', each.path)))
          for (const answer of answers) right(answer, each, `with room for ${rooms}`)
          const kept = await each.stored()
          disk.leave(0)
          for (const old of all.slice(-3)) right(await ask(served.listen, 'GET', old.path), old, 'with no room')
          right(
            await ask(served.listen, 'HEAD', each.path).then(({ body: _, ...head }) => ({ ...head, body: Buffer.alloc(0) })),
            { ...each, digest: digestOf('') },
            'HEAD'
          )
          disk.leave(enough)
          await served.stop()
          t.strictSame(served.logged('request failed'), [])
          return kept
        })
        const served = await serveModes(t, sections, disk.root)
        for (const each of all) {
          right(await ask(served.listen, 'GET', each.path), each, 'with room again')
          await until(async () => (await metric(served, 'registry_fills_running')) === 0)
        }
        await upstream.stop()
        for (const each of all) right(await ask(served.listen, 'GET', each.path), each, 'without upstream')
        t.strictSame(await openFiles(disk.root), [])
        await isInOrder(t, served)
      },
      onTmpfs
    )
  })
}

test('Proxy: a registry that found the disk full stores again when there is room, without a restart', async t => {
  onNarrow(
    t,
    'again',
    async (t, disk) => {
      const upstream = await startUpstream(t)
      const served = await serveModes(t, { registry: behind('Proxy', upstream) }, disk.root)
      disk.leave(3)
      const blob = async () => {
        const digest = upstream.addBlob(there('app'), bytesOf(layer))
        const { status, body } = await ask(served.listen, 'GET', `${here('app')}/blobs/${digest}`)
        return status === 200 && digestOf(body) === digest
      }
      t.ok(await blob())
      disk.leave(enough)
      await until(async () => (await blob()) && ((await metric(served, 'registry_fills_total', '{result="stored"}')) ?? 0) > 0)
      await until(async () => (await metric(served, 'registry_fills_running')) === 0)
      await isInOrder(t, served)
    },
    onTmpfs
  )
})
