// Attack: a plan that was edited into something else, and one that is older than what it names.
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { type Test, test } from 'tap'
import { pack } from 'tar-stream'
import { executePrune } from '../../../src/bundle/prune/execute.ts'
import { planPrune } from '../../../src/bundle/prune/plan.ts'
import { parsePlan, planText, type TagRemoval } from '../../../src/bundle/prune/plan-file.ts'
import { nameBelow } from '../../../src/bundle/source.ts'
import { parseName, parseTag } from '../../../src/oci/name.ts'
import { ask, digestOf, imageOf, imageType, pushBlob, putManifest, serve } from '../support.ts'
import { clientOf, never } from '../upstream/ask.ts'

const root = parseName('system/deckhouse')
const limits = { connections: 8, connectTimeout: 120_000, headerTimeout: 120_000, bodyTimeout: 120_000 }

async function scene(t: Test) {
  const target = await serve(t)
  const { upstream } = clientOf(t, [{ url: `http://${target.listen}` }], { limits })
  const add = async (path: string, tag: string | undefined, more: Record<string, unknown> = {}, layer = randomBytes(100)) => {
    const name = nameBelow(root, path)
    const config = randomBytes(30)
    for (const each of [config, layer]) await pushBlob(target, name, each)
    const plain = imageOf([config, layer], more)
    const manifest =
      layer[0] === 0x1f ? plain.replaceAll('application/vnd.test.blob', 'application/vnd.oci.image.layer.v1.tar+gzip') : plain
    const digest = digestOf(manifest)
    const { status } = await putManifest(target, name, tag ?? digest.slice(7), manifest)
    if (status !== 201) throw new Error(`${status}`)
    return { digest, size: Buffer.byteLength(manifest) }
  }
  /** An installer whose list names these images. */
  const release = async (version: string, digests: readonly string[]) => {
    const tar = pack()
    tar.entry(
      { name: 'deckhouse/candi/images_digests.json' },
      JSON.stringify({ all: Object.fromEntries(digests.map((digest, at) => [`i${at}`, digest])) })
    )
    tar.finalize()
    await add('', version)
    await add('install', version, {}, gzipSync(await buffer(Readable.from(tar))))
    await add('release-channel', version)
  }
  const tags = async (path: string): Promise<string[]> =>
    JSON.parse((await ask(target.listen, 'GET', `/v2/${nameBelow(root, path)}/tags/list`)).body.toString()).tags
  return { target, upstream, add, release, tags }
}

const named = (removals: readonly TagRemoval[]) => removals.map(({ path, tag }) => `${path}:${tag}`).sort()

test('prune: what only former releases name goes with what is about it; channels, modules, and shared images stay', async t => {
  const { upstream, add, release, tags } = await scene(t)
  const [shared, old, fresh] = [await add('', undefined), await add('', undefined), await add('', undefined)]
  const about = ({ digest, size }: { digest: string; size: number }) => ({ subject: { mediaType: imageType, digest, size } })
  const [oldSbom, freshSbom] = [await add('', undefined, about(old)), await add('', undefined, about(fresh))]
  await add('', `sha256-${old.digest.slice(7)}.att`)
  await add('', `sha256-${fresh.digest.slice(7)}.att`)
  await release('v1.69.0', [shared.digest, old.digest])
  await release('v1.70.0', [shared.digest, fresh.digest])
  await add('release-channel', 'stable')
  await add('modules/console', 'v1.69.0')
  const plan = await planPrune(upstream, root, { keep: [parseTag('v1.70.0')], signal: never() })
  const hex = ({ digest }: { digest: string }) => digest.slice(7)
  const expected = [
    `:${hex(old)}`,
    `:${hex(oldSbom)}`,
    `:sha256-${hex(old)}.att`,
    ':v1.69.0',
    'install:v1.69.0',
    'release-channel:v1.69.0'
  ].sort()
  t.same(named(plan.removals), expected)
  t.equal(plan.stays, 8)
  const text = planText({ place: `registry.test/${root}`, removals: plan.removals }, { keep: [parseTag('v1.70.0')], stays: plan.stays })
  const read = parsePlan(text)
  t.same(read.removals, plan.removals)
  const events = await Array.fromAsync(executePrune(upstream, root, read, { signal: never() }))
  t.match(events.at(-1), { type: 'done', removed: 6, absent: 0, changed: 0, failed: 0 })
  t.same((await tags('')).sort(), [hex(shared), hex(fresh), hex(freshSbom), `sha256-${hex(fresh)}.att`, 'v1.70.0'].sort())
  t.same(await tags('install'), ['v1.70.0'])
  t.same(await tags('release-channel'), ['stable', 'v1.70.0'])
  t.same(await tags('modules/console'), ['v1.69.0'])
  t.match((await Array.fromAsync(executePrune(upstream, root, read, { signal: never() }))).at(-1), { removed: 0, absent: 6 })
})

test('prune: nothing is planned where the images of a kept release cannot be told', async t => {
  const { upstream, add, release } = await scene(t)
  await release('v1.69.0', [])
  await t.rejects(planPrune(upstream, root, { keep: [parseTag('v1.70.0')], signal: never() }), /answered 404/)
  await add('', 'v1.70.0')
  await add('install', 'v1.70.0')
  await t.rejects(planPrune(upstream, root, { keep: [parseTag('v1.70.0')], signal: never() }), /images_digests\.json/)
})

test('prune: a tag that names something else since the plan was made stays', async t => {
  const { upstream, add, tags } = await scene(t)
  const before = await add('install', 'v1.69.0')
  await add('install', 'v1.69.0')
  const plan = { place: 'x', removals: [{ path: 'install', tag: parseTag('v1.69.0'), digest: before.digest as never }] }
  t.match(await Array.fromAsync(executePrune(upstream, root, plan, { signal: never() })), [
    { type: 'tag', tag: 'install:v1.69.0', result: 'changed' },
    { type: 'done', removed: 0, changed: 1 }
  ])
  t.same(await tags('install'), ['v1.69.0'])
})

const digest = `sha256:${'0'.repeat(64)}`
for (const [what, text, fault] of [
  ['no registry', `remove install:v1 ${digest}\n`, /no line "registry HOST\/PATH"/],
  ['two registries', 'registry a.test/b\nregistry c.test/d\n', /line 2 of the plan/],
  ['a path that leads elsewhere', `registry a.test/b\nremove ../x:v1 ${digest}\n`, /line 2 of the plan/],
  ['no digest', 'registry a.test/b\n\n# a\nremove install:v1\n', /line 4 of the plan/],
  ['a word that is none', `registry a.test/b\ndelete install:v1 ${digest}\n`, /line 2 of the plan/]
] as const) {
  test(`prune: a plan with ${what} is refused as a whole`, t => {
    t.throws(() => parsePlan(text), fault)
    t.end()
  })
}
