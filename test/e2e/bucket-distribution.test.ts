import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import { makeBucket, openS3, startS3 } from '../support/s3-server.ts'
import { onBucket, sampleOf, serves } from './bucket.ts'
import { collectGarbage, startDistribution } from './distribution.ts'
import { temporaryFolder } from './place.ts'
import { dataPath } from './registry.ts'
import { addBlob, ask } from './request.ts'
import { push } from './skopeo.ts'
import { hasTools } from './tool.ts'

const hour = 3_600_000

for (const program of ['docker-registry', 'distribution3'] as const)
  test(`a bucket: ${program} serves what we pushed, we serve what it pushed, both at the same time`, async t => {
    if (!hasTools(t, 'skopeo', program)) return
    const server = await startS3(t, { real: 'Distribution in front of a bucket' })
    if (!server) return
    const bucket = makeBucket(server)
    const ours = await onBucket(t, server, { bucket })
    const theirs = await startDistribution(t, { root: await temporaryFolder(t), s3: { server, bucket }, program })
    const [first, second, third] = [await sampleOf(t), await sampleOf(t), await sampleOf(t)]
    await push(ours, { layout: first.layout, tag: 'index', to: 'ours:all' })
    await serves(t, theirs, 'ours', first)
    await push(theirs, { layout: second.layout, tag: 'index', to: 'theirs/deep:all' })
    await serves(t, ours, 'theirs/deep', second)
    // Into a repository of the other one, over its tag.
    await push(theirs, { layout: third.layout, tag: 'index', to: 'ours:all' })
    await push(ours, { layout: third.layout, tag: 'index', to: 'theirs/deep:all' })
    for (const registry of [ours, theirs]) {
      const catalog: unknown = JSON.parse((await ask(registry, { path: '/v2/_catalog' })).body.toString())
      t.same(catalog, { repositories: ['ours', 'theirs/deep'] })
    }
    await serves(t, theirs, 'theirs/deep', third)
    // For cache.metadataTTL we may still give the tag that was.
    const now = async () => (await ask(ours, { method: 'HEAD', path: '/v2/ours/manifests/all' })).headers['docker-content-digest']
    while ((await now()) !== third.index.digest) await sleep(100)
    await serves(t, ours, 'ours', third)
  })

test('a bucket: what distribution3 and we pushed is served by both after we collected, and by us after it did', async t => {
  const program = 'distribution3'
  if (!hasTools(t, 'skopeo', program)) return
  const server = await startS3(t, { real: 'Distribution in front of a bucket' })
  if (!server) return
  const bucket = makeBucket(server)
  const place = { root: '', s3: { server, bucket }, program } as const
  const [ours, theirs] = [await onBucket(t, server, { bucket }), await startDistribution(t, place)]
  const [first, second] = [await sampleOf(t), await sampleOf(t)]
  await push(ours, { layout: first.layout, tag: 'index', to: 'ours:all' })
  await push(theirs, { layout: second.layout, tag: 'index', to: 'theirs:all' })
  const addLoose = async () => [await addBlob(ours, 'ours', randomBytes(6 << 20)), await addBlob(theirs, 'theirs', randomBytes(6 << 20))]
  const loose = await addLoose()
  const storage = await openS3(t, server, { bucket })
  const now = () => Date.now() + 2 * hour
  const content = openContent(storage, () => {}, { now, metadataTtlMs: 0, leaseTimes: { statusTtlMs: 0, noticeMs: 0, pollMs: 20 } })
  const events = await Array.fromAsync(
    collect(storage, content, { grace: hour, unreferencedCached: 'sweep', yielder: { step: async () => {} }, now })
  )
  const gone = events.flatMap(each => (each.type === 'remove' && each.kind === 'blob' ? [each.digest as string] : []))
  t.same(gone.sort(), loose.sort(), 'we removed what nothing needs, and nothing else')
  await serves(t, theirs, 'ours', first)
  await serves(t, theirs, 'theirs', second)

  const more = await addLoose()
  for (const each of [ours, theirs]) await each.stop()
  await collectGarbage(t, place)
  const reader = await onBucket(t, server, { bucket })
  for (const [at, digest] of more.entries()) {
    t.notOk(existsSync(dataPath(join(server.root, bucket), digest)), 'a blob that nothing refers to is gone')
    t.equal(
      (await ask(reader, { method: 'HEAD', path: `/v2/${at === 0 ? 'ours' : 'theirs'}/blobs/${digest}` })).status,
      404,
      'and unknown to us'
    )
  }
  await serves(t, reader, 'ours', first)
  await serves(t, reader, 'theirs', second)
})
