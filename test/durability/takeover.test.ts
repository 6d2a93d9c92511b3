import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { LocalSink } from '../../src/backend/local-sink.ts'
import { type Content, openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import { createObjectListing } from '../../src/content/listing.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { parseReference } from '../../src/oci/name.ts'
import { createSemaphore } from '../../storage/semaphore.ts'
import { Random } from '../long/random.ts'
import { repeat, seed } from '../long/scale.ts'
import { hour } from '../support/collect.ts'
import { blobText, imageOf, named, pushBlob, storeManifest, tagged } from '../support/content.ts'
import { proxyS3 } from '../support/s3-proxy.ts'
import { makeBucket, openS3, type S3Server, s3Options, startS3 } from '../support/s3-server.ts'
import { type CollectorTask, policy } from './collector.ts'

// Each waits for the end of a lease most of the time.
const sideBySide = 4
const names = ['a', 'b'].map(named)
const times = { statusTtlMs: 0, noticeMs: 0, pollMs: 20, lease: { ttlMs: 3_000, settleMs: 10 } }
// Manifests of the one repository, its links, those of the other one, bytes; and after each of the first three the
// marks of what was cached.
const removals = 7

/** Writes past the service, in whose directory objects are files. */
async function makeOld({ root }: S3Server, bucket: string): Promise<void> {
  const then = new Date(Date.now() - 2 * hour)
  for (const each of await readdir(join(root, bucket), { recursive: true, withFileTypes: true }))
    if (each.isFile()) await utimes(join(each.parentPath, each.name), then, then)
}

/** In each repository a tagged image and unreferenced blobs, in the first one an untagged manifest as well. */
async function fill(content: Content): Promise<void> {
  for (const name of names) {
    for (const each of ['config', `layer of ${name}`, 'garbage', `garbage of ${name}`]) await pushBlob(content, name, each)
    await storeManifest(content, name, imageOf('config', [`layer of ${name}`]), { tags: [tagged('v1')] })
  }
  await storeManifest(content, named('a'), imageOf('garbage', []))
}

/** A process that is killed with the `at`th removal, when that has taken effect or before it could. */
async function collectAndDie(t: Test, server: S3Server, bucket: string, at: number, effect: boolean): Promise<void> {
  const proxy = await proxyS3(t, server)
  const asked = Promise.withResolvers<void>()
  const done = Promise.withResolvers<void>()
  const isRemoval = (request: string) => /^POST .*\?delete|^DELETE /.test(request)
  proxy.fate = (method, path) => {
    // With the one that is asked for.
    const removals = proxy.requests.filter(isRemoval).length
    const last = effect ? removals > at && !isRemoval(`${method} ${path}`) : removals > at
    if (!last) return 'pass'
    asked.resolve()
    return { after: done.promise }
  }
  const task: CollectorTask = { options: await s3Options(t, proxy, { bucket }), times }
  const child = fork(join(import.meta.dirname, 'collector.ts'), [JSON.stringify(task)], {
    execArgv: [],
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  const closed = once(child, 'close')
  await Promise.race([asked.promise, closed.then(([code]) => Promise.reject(new Error(`the collector ended with ${code}`)))])
  child.kill('SIGKILL')
  await closed
  done.resolve()
}

async function collectWhenItMay(content: Content, storage: Parameters<typeof collect>[0]): Promise<void> {
  for (;;) {
    try {
      for await (const _ of collect(storage, content, policy));
      return
    } catch (error) {
      if ((error as Error).name !== 'LeaseHeldError') throw error
      await delay(100)
    }
  }
}

test(`takeover: a garbage collection that was killed is ended by another process, and nothing reachable is lost (${repeat})`, {
  timeout: 0
}, async t => {
  const server = await startS3(t)
  if (!server) return
  const random = new Random(seed)
  const limit = createSemaphore(sideBySide)
  const cases = Array.from({ length: removals }, (_, at) => ({ at, effect: random.next() < 0.5 }))
  await Promise.all(
    cases.map(({ at, effect }) =>
      limit(async () => {
        const bucket = makeBucket(server)
        const storage = await openS3(t, server, { bucket })
        const content = openContent(storage, () => {}, { now: Date.now, metadataTtlMs: 0, leaseTimes: times })
        await fill(content)
        await makeOld(server, bucket)
        await collectAndDie(t, server, bucket, at, effect)
        // For a pending deletion that is never removed.
        const push = new LocalSink(content).putManifest(named('b'), parseReference('v2'), { bytes: imageOf('garbage of b', []) }, []).then(
          () => true,
          () => false
        )
        await collectWhenItMay(content, storage)
        const what = `killed at removal ${at} which ${effect ? 'took effect' : 'did not'}, and then a push was ${(await push) ? 'taken' : 'refused'}`
        const after = openContent(storage, () => {})
        const needed = new Set<Digest>()
        const need = async (name: (typeof names)[number], tag: string, texts: readonly string[]) => {
          const digest = await after.tags.resolve(name, tagged(tag))
          t.ok(digest && (await after.manifests.get(name, digest)), `${name}:${tag}, ${what}`)
          if (digest) needed.add(digest)
          for (const text of texts) {
            needed.add(digestOf(Buffer.from(text)))
            t.equal(await blobText(after, name, digestOf(Buffer.from(text))), text, `${text}, ${what}`)
          }
        }
        for (const name of names) await need(name, 'v1', ['config', `layer of ${name}`])
        if (await push) await need(named('b'), 'v2', ['garbage of b'])
        const left = await Array.fromAsync(createObjectListing(storage).blobs(), each => each.digest)
        t.strictSame(left.sort(), [...needed].sort(), `what is left, ${what}`)
      })
    )
  )
})
