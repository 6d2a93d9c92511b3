import { test } from 'tap'
import { contentName, mapName, unmapName } from '../../../src/backend/name-mapping.ts'
import { parseName } from '../../../src/oci/name.ts'

const here = 'system/deckhouse'

test('the prefix here is the path there, and what follows stays', async t => {
  t.equal(mapName('system/deckhouse', here, 'deckhouse/ee'), 'deckhouse/ee')
  t.equal(mapName('system/deckhouse/modules/a', here, 'deckhouse/ee'), 'deckhouse/ee/modules/a')
  t.equal(mapName('system/deckhouse/system/deckhouse', here, 'x'), 'x/system/deckhouse')
})

test('an upstream without a path has no name for the prefix itself', async t => {
  t.equal(mapName('system/deckhouse', here, ''), undefined)
  t.equal(mapName('system/deckhouse/modules/a', here, ''), 'modules/a')
})

test('a name that only begins like the prefix maps nowhere', async t => {
  for (const name of [
    'system/deckhousex',
    'system/deckhouse-ee/a',
    'system/deckhouse.a',
    'system',
    'system/other',
    'a/system/deckhouse',
    ''
  ]) {
    t.equal(mapName(name, here, 'deckhouse/ee'), undefined, name)
  }
})

test('a path upstream is kept as it was written, upper case too', async t => {
  t.equal(mapName('system/deckhouse/a', here, 'Team/Repo'), 'Team/Repo/a')
})

test('a name of an upstream catalog has its name here', async t => {
  t.equal(unmapName('deckhouse/ee', here, 'deckhouse/ee'), 'system/deckhouse')
  t.equal(unmapName('deckhouse/ee/modules/a', here, 'deckhouse/ee'), 'system/deckhouse/modules/a')
  t.equal(unmapName('modules/a', here, ''), 'system/deckhouse/modules/a')
})

test('a name of an upstream catalog outside the path has none here', async t => {
  for (const name of ['deckhouse/eex', 'deckhouse', 'other', '']) t.equal(unmapName(name, here, 'deckhouse/ee'), undefined, name)
  t.equal(unmapName('', here, ''), undefined)
})

test('a name of an upstream catalog that cannot be pulled here is left out', async t => {
  for (const name of ['Modules', '../a', 'a//b', 'a/_uploads', '/a', 'x'.repeat(240)]) t.equal(unmapName(name, here, ''), undefined, name)
})

test('mapping there and back gives the same name', async t => {
  for (const path of ['', 'a', 'deckhouse/ee']) {
    for (const name of ['system/deckhouse/a', 'system/deckhouse/a/b__c'])
      t.equal(unmapName(mapName(name, here, path) ?? '', here, path), name)
  }
})

test('content of another registry lies under its host, the port after an underscore', async t => {
  const name = parseName('library/alpine')
  t.equal(contentName('docker.io', name), 'upstreams/docker.io/library/alpine')
  t.equal(contentName('GHCR.io:443', name), 'upstreams/ghcr.io_443/library/alpine')
})

test('content whose name would be longer than a name may be is refused', async t => {
  t.throws(() => contentName('docker.io', parseName('x'.repeat(240))), { code: 'NAME_INVALID' })
})

test('a host that does not fit into a name is refused', async t => {
  for (const host of ['..', '[::1]:5000', 'a/../b', '']) t.throws(() => contentName(host, parseName('a')), { code: 'NAME_INVALID' }, host)
})
