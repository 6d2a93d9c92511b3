import { join } from 'node:path'
import { test } from 'tap'
import { settingsOf } from '../../config/resolve.ts'
import { loaded, refused } from './written.ts'

test('untagged manifests are kept unless a time is named', t => {
  t.equal(loaded(t, 'gc: { untagged: keep }').gc.untagged, undefined)
  t.equal(loaded(t, 'gc: { untagged: 168h }').gc.untagged, 604_800_000)
  t.match(settingsOf(loaded(t, 'gc: { untagged: 168h, grace: 0s, every: 1s }')), { gc: { untagged: '168h', grace: '0s', every: '1s' } })
  t.same(refused(t, 'gc:\n  untagged: sometimes'), ['2 gc.untagged: keep, or a duration such as 168h or 1h30m'])
  t.same(refused(t, 'gc:\n  every: 0s'), ['2 gc.every: a duration such as 24h, from 1s to 9000h'])
  t.end()
})

test('pins are patterns, and may stand in a file of their own', t => {
  const { cache } = loaded(t, 'cache: { pin: ["docker.io/library/*:3.*"], pinFile: pins }')
  t.same(cache.pin, ['docker.io/library/*:3.*'])
  t.equal(cache.pinFile?.endsWith(join('/', 'pins')), true)
  t.equal(refused(t, 'cache:\n  pin: ["a b"]').length, 1)
  t.end()
})
