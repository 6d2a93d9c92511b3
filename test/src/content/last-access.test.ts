import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'tap'
import { openContent } from '../../../src/content/content.ts'
import * as keys from '../../../src/content/keys.ts'
import { LastAccess } from '../../../src/content/last-access.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Storage } from '../../../storage/storage.ts'
import { named } from '../../support/content.ts'
import { makeBucket, openS3, startS3 } from '../../support/s3-server.ts'
import { watchStorage } from '../../support/storage.ts'

const name = named('a')

test('access: in a bucket where nothing is cached no access is recorded, and once something is each is', async t => {
  const server = await startS3(t)
  if (!server) return
  const bucket = makeBucket(server)
  const storage = await openS3(t, server, { bucket })
  const { provenance: origins, coordination } = openContent(storage, () => {})
  const touched: string[] = []
  let walking: Promise<void> = Promise.resolve()
  const watched: Storage = {
    ...watchStorage(storage, (call, key) => void (call === 'touch' && touched.push(key))),
    walk: async function* (prefix, after) {
      const { promise, resolve } = Promise.withResolvers<void>()
      walking = promise
      try {
        yield* storage.walk(prefix, after)
      } finally {
        resolve()
      }
    }
  }
  let now = 1_000_000_000
  let blobs = 0
  const access = new LastAccess({ storage: watched, provenance: origins, coordination, now: () => now })
  // Each of another digest: one that was noted is not noted again for a while.
  const noted = () => {
    const [digest, before] = [digestOf(Buffer.from(`${blobs++}`)), touched.length]
    access.record(name, digest)
    return touched.slice(before).includes(keys.provenanceRecord(name, digest))
  }
  const until = async (wanted: boolean) => {
    while (noted() !== wanted) await delay(5)
  }
  t.equal(noted(), true, 'nothing was scanned yet')
  await until(false)
  t.equal(noted(), false)
  await origins.set(name, digestOf(Buffer.from('cached')), 'registry.test/x')
  t.equal(noted(), true, 'this process caches')
  await walking
  await new Promise(setImmediate)
  t.equal(noted(), true)

  // Another process caches: that is seen after a minute.
  await storage.remove([keys.provenanceRecord(name, digestOf(Buffer.from('cached')))])
  now += 60_000
  noted()
  await until(false)
  const others = openContent(await openS3(t, server, { bucket }), () => {})
  await others.provenance.set(name, digestOf(Buffer.from('cached')), 'registry.test/x')
  t.equal(noted(), false)
  now += 60_000
  noted()
  await until(true)
  await walking
  await new Promise(setImmediate)
  t.equal(noted(), true)
})
