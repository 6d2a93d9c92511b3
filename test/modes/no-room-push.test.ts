import { test } from 'tap'
import { ask, bytesOf, digestOf, imageOf, openFiles, pushBlob, putManifest, startSession, until } from '../src/support.ts'
import { allThere, enough, isDone, isInOrder, noSession, onNarrow, onTmpfs, type Promised, withEachRoom } from './no-room.ts'
import { type Changeable, serveModes } from './scene.ts'

const local = { registry: { mode: 'Local' } }
const length = 20_000

/** One way to write: resolves, while there is room, to the part that is to find none, with the status of its success; and that to what a client may rely on. */
interface Way {
  done: number
  /** Also on a disk of its own, where it meets something else but is slow. */
  everywhere?: true
  begin(served: Changeable, name: string): Promise<{ end: () => ReturnType<typeof ask>; promised: Promised }>
}

const blobPath = (name: string, bytes: Uint8Array) => `/v2/${name}/blobs/${digestOf(bytes)}`

const ways: Record<string, Way> = {
  'the start of an upload': {
    done: 202,
    begin: async ({ listen }, name) => ({ end: () => ask(listen, 'POST', `/v2/${name}/blobs/uploads/`), promised: new Map() })
  },
  'a blob in one request': {
    done: 201,
    everywhere: true,
    begin: async ({ listen }, name) => {
      const bytes = bytesOf(length)
      const end = () => ask(listen, 'POST', `/v2/${name}/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes })
      return { end, promised: new Map([[blobPath(name, bytes), bytes]]) }
    }
  },
  'a chunk of an upload': {
    done: 202,
    begin: async (served, name) => {
      const session = await startSession(served, name)
      return { end: () => ask(served.listen, 'PATCH', session, { body: bytesOf(length) }), promised: new Map() }
    }
  },
  'a second chunk of an upload': {
    done: 202,
    begin: async (served, name) => {
      const session = await startSession(served, name)
      await ask(served.listen, 'PATCH', session, { body: bytesOf(length) })
      return { end: () => ask(served.listen, 'PATCH', session, { body: bytesOf(length) }), promised: new Map() }
    }
  },
  'the end of an upload': {
    done: 201,
    begin: async (served, name) => {
      const bytes = bytesOf(length)
      const session = await startSession(served, name)
      await ask(served.listen, 'PATCH', session, { body: bytes })
      const end = () => ask(served.listen, 'PUT', `${session}?digest=${digestOf(bytes)}`)
      return { end, promised: new Map([[blobPath(name, bytes), bytes]]) }
    }
  },
  'a manifest with a tag and a subject': {
    done: 201,
    everywhere: true,
    begin: async (served, name) => {
      const config = bytesOf(100)
      await pushBlob(served, name, config)
      const subject = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(name), size: 10 }
      const manifest = imageOf([config], { subject })
      const paths = ['v1', digestOf(manifest)].map(each => `/v2/${name}/manifests/${each}`)
      return { end: () => putManifest(served, name, 'v1', manifest), promised: new Map(paths.map(each => [each, manifest])) }
    }
  },
  'a tag that is moved': {
    done: 201,
    begin: async (served, name) => {
      const config = bytesOf(100)
      await pushBlob(served, name, config)
      await putManifest(served, name, 'v1', imageOf([config], { annotations: { first: name } }))
      const manifest = imageOf([config])
      return { end: () => putManifest(served, name, 'v1', manifest), promised: new Map([[`/v2/${name}/manifests/v1`, manifest]]) }
    }
  },
  'a mount': {
    done: 201,
    begin: async (served, name) => {
      const bytes = bytesOf(100)
      const digest = await pushBlob(served, `from-${name}`, bytes)
      const end = () => ask(served.listen, 'POST', `/v2/${name}/blobs/uploads/?mount=${digest}&from=from-${name}`)
      return { end, promised: new Map([[blobPath(name, bytes), bytes]]) }
    }
  }
}

for (const [way, { done, everywhere, begin }] of Object.entries(ways)) {
  test(`Local, ${way}, on a disk that runs full at each of its steps: 507, and nothing that was acknowledged is lost`, async t => {
    onNarrow(
      t,
      way,
      async (t, disk) => {
        const first = await serveModes(t, local, disk.root)
        const promised: Promised = new Map()
        const base = await begin(first, 'base')
        t.equal((await base.end()).status, done)
        for (const [path, bytes] of base.promised) promised.set(path, bytes)
        const refused: string[] = []
        await withEachRoom(t, disk, async rooms => {
          const name = `r${rooms}`
          const attempt = await begin(first, name)
          disk.leave(rooms)
          const answer = await attempt.end()
          const ended = isDone(t, answer, done)
          if (ended) for (const [path, bytes] of attempt.promised) promised.set(path, bytes)
          else refused.push(name)
          await allThere(t, first, promised)
          return ended
        })
        disk.leave(enough)
        for (const name of refused) {
          const again = await begin(first, name)
          t.equal((await again.end()).status, done, `${name} once there is room`)
          for (const [path, bytes] of again.promised) promised.set(path, bytes)
        }
        t.strictSame(await openFiles(disk.root), [])
        await allThere(t, first, promised)
        await isInOrder(t, first)
        await first.stop()
        const second = await serveModes(t, { ...local, limits: { uploadIdle: '1s' } }, disk.root)
        await allThere(t, second, promised)
        await until(() => noSession(disk.root))
      },
      everywhere ? () => true : onTmpfs
    )
  })
}
