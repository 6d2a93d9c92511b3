import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { Config } from '../../../config/schema.ts'
import { createPinnedReferences, parsePins } from '../../../src/backend/pinned-references.ts'
import { appendPins, pinsOf } from '../../../src/operations/pin-file.ts'
import { named, tagged } from '../../support/content.ts'
import { folder } from '../support.ts'

const config = { registry: { upstreams: { 'Quay.io': {} } } } as unknown as Config
const digest = `sha256:${'a'.repeat(64)}`

test('pins of references: without the host, except for that of a further upstream; a malformed one has none', async t => {
  const references = [
    'registry.test:5001/system/app:v1',
    'system/app',
    `r.test/app:v1@${digest}`,
    'quay.io/org/tool:v2',
    'docker.io/alpine',
    'Not A Name'
  ]
  const pins = pinsOf(references, config)
  t.strictSame(pins, ['system/app:v1', 'system/app:latest', `app@${digest}`, 'quay.io/org/tool:v2', 'library/alpine:latest'])
  const pinned = createPinnedReferences(pins)
  t.ok(pinned(named('system/app'), { tag: tagged('v1') }))
  t.ok(pinned(named('upstreams/quay.io/org/tool'), { tag: tagged('v2') }), 'as the content of a further upstream lies here')
  t.notOk(pinned(named('system/app'), { tag: tagged('v2') }))
})

test('pin file: new patterns are appended once, and all lines stay as they are', async t => {
  const file = join(folder(t), 'pins')
  writeFileSync(file, '# the platform\na:v1 # kept\nb:*')
  chmodSync(file, 0o640)
  t.equal(await appendPins(file, ['a:v1', 'c:v1', 'c:v1', 'd:v1']), 2)
  t.equal(readFileSync(file, 'utf8'), '# the platform\na:v1 # kept\nb:*\nc:v1\nd:v1\n')
  t.equal(await appendPins(file, ['c:v1']), 0)
  t.equal(statSync(file).mode & 0o777, 0o640)
  t.strictSame(readdirSync(join(file, '..')), ['pins'], 'nothing beside it')
})

test('pin file: it is created, and behind a symbolic link its target is replaced', async t => {
  const place = folder(t)
  const [file, link] = [join(place, 'pins'), join(place, 'link')]
  t.equal(await appendPins(file, ['a:v1']), 1)
  symlinkSync(file, link)
  await appendPins(link, ['b:v1'])
  t.strictSame(parsePins(readFileSync(file, 'utf8')), ['a:v1', 'b:v1'])
})

test('a file of pins: one that cannot be written is an error that names it, and stays', async t => {
  const file = join(folder(t), 'pins')
  mkdirSync(file)
  await t.rejects(appendPins(file, ['a:v1']), { message: /^nothing was pinned, since cache\.pinFile cannot be written: EISDIR/ })
  t.ok(statSync(file).isDirectory())
})
