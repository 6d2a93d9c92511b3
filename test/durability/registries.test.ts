import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { Client } from '../long/client.ts'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { type Server, startServer, temporaryFolder } from '../long/server.ts'
import { makeBucket, type S3Server, s3Settings, startS3 } from '../support/s3-server.ts'
import { Shop } from './shop.ts'

const pushing = 5
const pulling = 3
const longestRest = 500
// Short, so that content that is pushed again is often a pending deletion; and long enough that a slow machine acts
// within the parts of it that protect.
const gc = { grace: '8s', untagged: '8s' }

/** Registries over one bucket; the first one runs garbage collection without a pause. */
function startAll(t: Test, folder: string, service: S3Server): Promise<Server[]> {
  const bucket = makeBucket(service)
  const starting = ['1s', '24h'].map(async (every, at) => {
    const own = join(folder, String(at))
    await mkdir(own)
    const s3 = s3Settings(service, bucket, join(own, 'spool'))
    return startServer(t, { folder: own, sections: { storage: { s3 }, gc: { ...gc, every } } })
  })
  return Promise.all(starting)
}

/** The value of a counter whose labels include `label`. */
async function counted(admin: Client, counter: string, label: string): Promise<number> {
  const lines = (await admin.ask('GET', '/metrics')).body.toString().split('\n')
  const values = lines.filter(each => each.startsWith(`${counter}{`) && each.includes(label)).map(each => Number(each.split(' ').at(-1)))
  return values.reduce((sum, each) => sum + each, 0)
}

async function collectionsEnd(admin: Client, more: number): Promise<void> {
  const ended = () => counted(admin, 'registry_gc_runs_total', 'result="done"')
  const enough = (await ended()) + more
  while ((await ended()) < enough) await sleep(100)
}

test(`registries: while one of two collects both take pushes and pulls, and nothing that a tag names is missing (${repeat})`, {
  timeout: 0
}, async t => {
  const service = await startS3(t)
  if (!service) return
  const servers = await startAll(t, await temporaryFolder(t), service)
  const clients = servers.map(({ address }) => new Client(address, pushing + pulling))
  const admin = new Client(servers[0]?.admin ?? '', 1)
  t.teardown(() => Promise.all([...clients, admin].map(each => each.close())))
  const random = new Random(seed)
  const shop = new Shop(clients, random)
  await shop.fill()
  let open = true
  const going = Array.from({ length: pushing + pulling }, async (_, at) => {
    while (open) {
      await (at < pushing ? shop.change(at, pushing) : shop.pull())
      await sleep(random.between(0, longestRest))
    }
  })
  await collectionsEnd(admin, scale.bucket.collections)
  const removed = await counted(admin, 'registry_removed_objects_total', 'kind="blob"')
  open = false
  await Promise.all(going)
  await collectionsEnd(admin, 1)
  await shop.pullAll()
  const { pushes, deletions, reused, again, pulls } = shop.done
  t.comment(
    `${pushes} pushes with ${reused} blobs that were there, ${deletions} deletions, ${pulls} pulls, ${removed} blobs removed meanwhile`
  )
  t.comment(`${again} times something had gone between two requests of a push`)
  t.ok(removed > 0 && reused > 0, 'what was reused was in danger')
  t.same(shop.failures, [])
})
