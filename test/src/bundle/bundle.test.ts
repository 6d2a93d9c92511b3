// Report: an image was lost on a network error, an archive was cut on its disk, and the exit code was 0.
import { randomBytes } from 'node:crypto'
import { copyFileSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { Bundle } from '../../../src/bundle/bundle.ts'
import { BundleMaker, digestOf, fileEntry, splitArchive, writeArchive } from '../../support/bundle.ts'
import { folder } from '../support.ts'
import { never } from '../upstream/ask.ts'
import { madeBundle, oneArchive, opened, verified } from './scene.ts'

const flip = (file: string, needle: Buffer) => {
  const bytes = readFileSync(file)
  const at = bytes.indexOf(needle)
  if (at === -1) throw new Error('the bytes are not there')
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(file, bytes)
  return at
}

test('bundle: every layout is a repository, with the tags of its annotations, and it is sound', async t => {
  const { place, maker } = await madeBundle(t)
  const { bundle, plan, faults, notices } = await opened(t, place)
  t.same(
    [...bundle.repositories.keys()],
    ['', 'install', 'modules/console', 'modules/console/release', 'release-channel', 'security/trivy-db']
  )
  t.same(
    plan.images.map(({ path, tag, digest }) => `${path} ${tag} ${digest}`).sort(),
    maker.images.map(({ path, tag, digest }) => `${path} ${tag} ${digest}`).sort()
  )
  t.same([faults, notices], [[], []])
  const events = await verified(t, place)
  t.match(events, [{ type: 'done', archives: 3, repositories: 6, images: 6, verified: 23, faults: 0 }])
})

test('bundle: chunks are one archive, named as a whole, by one of them, or by their directory', async t => {
  const { place } = await madeBundle(t)
  const chunks = await splitArchive(join(place, 'platform.tar'), 30_000)
  t.ok(chunks.length > 5)
  t.match(await verified(t, place), [{ type: 'done', archives: 3, images: 6, faults: 0 }])
  for (const path of [join(place, 'platform.tar'), chunks[3] ?? '']) {
    t.match(await verified(t, path), [{ type: 'done', archives: 1, images: 3, faults: 0 }])
  }
})

test('bundle: a layout in several archives is one repository, and what both list is listed once', async t => {
  const place = folder(t)
  const [one, other] = [new BundleMaker(), new BundleMaker()]
  const image = one.addImage('packages/a/version', 'stable')
  other.addManifest('packages/a/version', 'stable', image.manifest)
  other.addBlobs('packages/a/version', image.blobs)
  other.addImage('packages/a/version', 'beta')
  await writeArchive(join(place, 'package-a.tar'), one.entries())
  await writeArchive(join(place, 'package-versions.tar'), other.entries())
  const { plan, faults, notices } = await opened(t, place)
  t.same(plan.images.map(each => each.tag).sort(), ['beta', 'stable'])
  t.same([faults, notices], [[], []])
})

test('bundle: a module that a former d8 packed without its path lies below modules/', async t => {
  const maker = new BundleMaker()
  maker.addImage('', 'v1')
  maker.addImage('release', 'stable')
  const { bundle } = await opened(t, await oneArchive(t, maker.entries(), 'module-console.tar'))
  t.same([...bundle.repositories.keys()], ['modules/console', 'modules/console/release'])
})

test('bundle: an archive that was renamed goes where the paths in it say', async t => {
  const maker = new BundleMaker()
  maker.addImage('modules/console', 'v1')
  const { bundle } = await opened(t, await oneArchive(t, maker.entries(), 'module-other.tar'))
  t.same([...bundle.repositories.keys()], ['modules/console'])
})

test('bundle: only the archives that are asked for', async t => {
  const { place } = await madeBundle(t)
  const bundle = await Bundle.open({ paths: [place], only: ['security.tar'], signal: never() })
  t.teardown(() => bundle[Symbol.asyncDispose]())
  t.same([...bundle.repositories.keys()], ['security/trivy-db'])
  await t.rejects(Bundle.open({ paths: [place], only: ['absent.tar'], signal: never() }), /no archives of a bundle are there.*absent\.tar/)
  await t.rejects(Bundle.open({ paths: [folder(t)], signal: never() }), /no archives/)
  await t.rejects(Bundle.open({ paths: [join(place, 'nothing')], signal: never() }), { code: 'ENOENT' })
})

test('bundle: a flipped bit in a blob is told with file, entry, digest and offset', async t => {
  const { place, maker } = await madeBundle(t)
  const blob = maker.images.find(each => each.path === 'security/trivy-db')?.blobs[2] ?? Buffer.alloc(0)
  const offset = flip(join(place, 'security.tar'), blob)
  const events = await verified(t, place)
  t.match(events, [
    {
      type: 'fault',
      archive: 'security.tar',
      file: 'security.tar',
      offset,
      digest: digestOf(blob),
      reason: /its bytes are those of sha256:/
    },
    { type: 'done', faults: 1 }
  ])
})

test('bundle: a flipped bit in a manifest is told, and its image cannot be used', async t => {
  const { place, maker } = await madeBundle(t)
  const image = maker.images.find(each => each.path === 'security/trivy-db')
  flip(join(place, 'security.tar'), image?.manifest ?? Buffer.alloc(0))
  const { plan, faults } = await opened(t, place)
  t.match(faults, [new RegExp(`^${image?.digest}: .*its bytes are those of .*\\(security/trivy-db:2\\)$`)])
  t.match(plan.images.find(each => each.path === 'security/trivy-db')?.damage, /its bytes are those of/)
})

for (const [what, cut] of [
  ['inside an entry', (size: number) => size / 2],
  ['without its end blocks', (size: number) => size - 1024],
  ['to nothing', () => 0]
] as const) {
  test(`bundle: an archive that was cut ${what} is told of`, async t => {
    const { place } = await madeBundle(t)
    const file = join(place, 'platform.tar')
    truncateSync(file, Math.floor(cut(statSync(file).size)))
    const events = await verified(t, place)
    t.match(events[0], { type: 'fault', archive: 'platform.tar', file: 'platform.tar', offset: statSync(file).size })
    const last = events.at(-1)
    t.ok(last?.type === 'done' && last.faults > 0)
  })
}

const chunked: [what: string, break_: (chunks: string[], place: string) => void, fault: RegExp][] = [
  ['the first', chunks => rmSync(chunks[0] ?? ''), /chunk 0000 is missing/],
  ['one in the middle', chunks => rmSync(chunks[2] ?? ''), /chunk 0002 is missing/],
  ['the last', chunks => rmSync(chunks.at(-1) ?? ''), /platform\.tar .*\.chunk\).*: the archive ends|was cut/],
  [
    'the order of two',
    chunks => {
      renameSync(chunks[1] ?? '', `${chunks[1]}.swap`)
      renameSync(chunks[2] ?? '', chunks[1] ?? '')
      renameSync(`${chunks[1]}.swap`, chunks[2] ?? '')
    },
    /no tar header|its bytes are those of/
  ],
  [
    'a chunk that is there under two numbers',
    chunks => copyFileSync(chunks[1] ?? '', (chunks[1] ?? '').replace('.0001.', '.00001.')),
    /chunk 0001 is there twice/
  ],
  [
    'a whole archive beside its chunks',
    (chunks, place) => copyFileSync(chunks[0] ?? '', join(place, 'platform.tar')),
    /as a whole and in chunks/
  ]
]
for (const [what, breakIt, fault] of chunked) {
  test(`bundle: of chunks, ${what} is told of`, async t => {
    const { place } = await madeBundle(t)
    breakIt(await splitArchive(join(place, 'platform.tar'), 30_000), place)
    const found = await verified(t, place)
    const texts = found.flatMap(each => (each.type === 'fault' ? [`${each.archive} (${each.file}): ${each.reason}`] : []))
    t.ok(
      texts.some(each => fault.test(each)),
      texts.join('\n')
    )
  })
}

const hostile: [what: string, entry: Parameters<typeof writeArchive>[1][number], fault: RegExp][] = [
  ['a name that leads out', fileEntry('../../escape'), /leads out of the bundle; nothing of this archive is used/],
  ['a symbolic link', { header: { name: 'blobs/sha256/x', type: 'symlink', linkname: '/etc/passwd' } }, /a symbolic link/],
  ['a second entry of one name', { ...fileEntry('index.json'), bytes: Buffer.from('{}') }, /the entry is there twice/]
]
for (const [what, entry, fault] of hostile) {
  test(`bundle: with ${what} an archive is not used at all, and the others are`, async t => {
    const { place, maker } = await madeBundle(t)
    await writeArchive(join(place, 'platform.tar'), [...maker.entries(['', 'install', 'release-channel']), entry])
    const { bundle, plan, faults } = await opened(t, place)
    t.match(faults, [fault])
    t.same([...bundle.repositories.keys()], ['modules/console', 'modules/console/release', 'security/trivy-db'])
    t.equal(plan.images.length, 3)
  })
}

/** A maker with one sound image, and what is wrong with the bundle of its archive. */
async function findings(t: Test, change: (maker: BundleMaker) => void) {
  const maker = new BundleMaker()
  maker.addImage('', 'v1')
  change(maker)
  return opened(t, await oneArchive(t, maker.entries()))
}

test('bundle: what index.json names and what is not there is told one by one, with the images that need it', async t => {
  const lost = { ...new BundleMaker().addImage('x', 'y') }
  const { faults, plan } = await findings(t, maker => {
    maker.layout('').manifests.push({
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: lost.digest,
      size: 5,
      annotations: { 'io.deckhouse.image.short_tag': 'gone' }
    })
    const broken = maker.addImage('', 'v2')
    maker.addManifest('', 'v3', Buffer.concat([broken.manifest, Buffer.from(' ')]))
    for (const each of broken.blobs.slice(1)) maker.layout('').blobs.delete(digestOf(each).replace(':', '/'))
  })
  t.equal(faults.length, 3)
  t.match(faults[0], new RegExp(`${lost.digest}: .*does not have it \\(\\.:gone\\)`))
  for (const fault of faults.slice(1)) t.match(fault, /the bundle lacks it \(\d+ bytes\) \(\.:v2, \.:v3\)/)
  t.match(plan.lacking, [{ size: 3000 }, { size: 70_000 }])
})

test('bundle: a wrong media type, a tag given twice, and no annotation are told and do no harm', async t => {
  const { faults, notices, plan } = await findings(t, maker => {
    maker.addImage('', 'v2', { mediaType: 'application/octet-stream' })
    maker.addImage('', 'v1')
    maker.addImage('', 'none', { annotations: {} })
  })
  t.same(faults, [])
  t.equal(notices.length, 3)
  t.match(notices.join('\n'), /index\.json says application\/octet-stream; it is application\/vnd\.oci\.image\.manifest/)
  t.match(notices.join('\n'), /the tag v1 is given twice; sha256:[0-9a-f]{64} comes last and keeps it/)
  t.match(notices.join('\n'), /without io\.deckhouse\.image\.short_tag: it is kept under its digest alone/)
  t.equal(plan.images.length, 4)
  t.same(plan.images.flatMap(each => each.tag ?? []).sort(), ['v1', 'v2'])
})

const badIndexes: [what: string, index: string, fault: RegExp][] = [
  ['is no JSON', '{', /not JSON/],
  ['has no list', '{"manifests": 5}', /no list of manifests/],
  ['has a bad digest', '{"manifests": [{"digest": "sha256:xyz", "size": 1}]}', /manifests\[0\]: it has no digest/],
  ['has no size', `{"manifests": [{"digest": "sha256:${'0'.repeat(64)}"}]}`, /its size is no number/],
  [
    'has a tag that is none',
    `{"manifests": [{"digest": "sha256:${'0'.repeat(64)}", "size": 1, "annotations": {"io.deckhouse.image.short_tag": "a b"}}]}`,
    /"a b" is no tag/
  ],
  ['costs too much to parse', `{"manifests": [${'[],'.repeat(3_000_000)}[]]}`, /it is not JSON that can be read: the document has too many/]
]
for (const [what, index, fault] of badIndexes) {
  test(`bundle: an index.json that ${what} is a fault of its entry`, async t => {
    const { faults } = await opened(t, await oneArchive(t, [{ ...fileEntry('install/index.json'), bytes: Buffer.from(index) }]))
    t.match(faults[0], fault)
    t.match(faults[0], /^platform\.tar: install\/index\.json/)
  })
}

test('bundle: blobs without an index.json, and a path that is no repository, are told of', async t => {
  const { faults } = await opened(
    t,
    await oneArchive(t, [
      { ...fileEntry(`lost/blobs/sha256/${digestOf(Buffer.from('x')).slice(7)}`), bytes: Buffer.from('x') },
      { ...fileEntry('UPPER/index.json'), bytes: Buffer.from('{"manifests":[]}') }
    ])
  )
  t.match(faults, [/"UPPER" is not the name of a repository/, /lost has blobs and no index\.json/])
})

test('bundle: an image of an unknown kind cannot be used, since its parts are not known', async t => {
  const { plan } = await findings(t, maker =>
    maker.addManifest('', 'odd', Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.test.thing+json"}'))
  )
  t.match(plan.images.find(each => each.tag === 'odd')?.damage, /unknown kind/)
})

test('bundle: a file that becomes shorter while it is read is an error and no truncated blob', async t => {
  const { place, maker } = await madeBundle(t)
  const { bundle } = await opened(t, place)
  truncateSync(join(place, 'platform.tar'), 1000)
  const image = maker.images.find(each => each.path === 'release-channel')
  await t.rejects(bundle.readManifest(image?.digest as never), /became shorter while it was read/)
})

test('bundle: a bundle of nothing is no sound bundle', async t => {
  const events = await verified(t, await oneArchive(t, [{ ...fileEntry('deckhousereleases.yaml'), bytes: randomBytes(10) }]))
  t.match(events, [
    { type: 'fault', reason: /no image/ },
    { type: 'done', images: 0, faults: 1 }
  ])
})
