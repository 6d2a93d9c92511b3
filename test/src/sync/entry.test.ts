import { test } from 'tap'
import { digestOf } from '../../../src/oci/digest.ts'
import { compareStamps, type Entry, nextStamp, parseEntry, sendEntry, supersedes } from '../../../src/sync/entry.ts'
import { named } from '../../support/content.ts'

const digest = digestOf(Buffer.from('x'))
const other = digestOf(Buffer.from('y'))
const entry: Entry = { kind: 'tag', name: named('some/name'), key: 'v1', value: digest, stamp: { time: 5, count: 1 }, origin: 'm1' }

test('an entry is read as it was sent, a tombstone too', async t => {
  for (const each of [entry, { ...entry, value: undefined }, { ...entry, kind: 'revision' as const, key: digest }]) {
    const { value, ...rest } = each
    const sent = value === undefined ? rest : { ...rest, value }
    t.strictSame(parseEntry(JSON.parse(JSON.stringify(sendEntry(sent as Entry)))), sent)
  }
})

test('a peer that lies: an entry that no replica writes is refused', async t => {
  const good = sendEntry(entry)
  const bad: [string, unknown][] = [
    ['no list', { ...entry }],
    ['too short', good.slice(1)],
    ['a name that leaves the tree', ['tag', '../../etc', 'v1', digest, 5, 1, 'm1']],
    ['a tag that leaves the tree', ['tag', 'some/name', '../v1', digest, 5, 1, 'm1']],
    ['a tag that is long', ['tag', 'some/name', 'v'.repeat(129), digest, 5, 1, 'm1']],
    ['an unknown kind', ['upload', 'some/name', 'v1', digest, 5, 1, 'm1']],
    ['no digest', ['tag', 'some/name', 'v1', 'sha256:1', 5, 1, 'm1']],
    ['a manifest under another digest', ['revision', 'some/name', digest, other, 5, 1, 'm1']],
    ['a manifest by a tag', ['revision', 'some/name', 'v1', digest, 5, 1, 'm1']],
    ['a stamp that cannot be superseded', ['tag', 'some/name', 'v1', digest, Number.MAX_SAFE_INTEGER, 1, 'm1']],
    ['a count that is used up', ['tag', 'some/name', 'v1', digest, 5, 65_536, 'm1']],
    ['a fraction', ['tag', 'some/name', 'v1', digest, 5.5, 1, 'm1']],
    ['a negative stamp', ['tag', 'some/name', 'v1', digest, -5, 1, 'm1']],
    ['an origin that is no name', ['tag', 'some/name', 'v1', digest, 5, 1, 'm1\nm2']]
  ]
  for (const [what, sent] of bad) t.equal(parseEntry(sent), undefined, what)
})

test('a stamp from the year 2100 is accepted, and a later write supersedes it however slow its clock is', async t => {
  const far = { ...entry, stamp: { time: Date.UTC(2100, 0), count: 65_535 } }
  t.strictSame(parseEntry(sendEntry(far)), far)
  let stamp = far.stamp
  for (let writes = 0; writes < 70_000; writes++) {
    const next = nextStamp(Date.UTC(2026, 0), stamp)
    if (compareStamps(next, stamp) <= 0) t.fail('not later')
    stamp = next
  }
  t.ok(parseEntry(sendEntry({ ...entry, stamp })), 'and peers take it')
  t.ok(stamp.time - far.stamp.time < 5, 'by some milliseconds')
})

test('a writer that has seen a value beats it, and the clock decides between those that have not', async t => {
  t.strictSame(nextStamp(100), { time: 100, count: 0 })
  t.strictSame(nextStamp(100, { time: 50, count: 9 }), { time: 100, count: 0 })
  t.strictSame(nextStamp(100, { time: 100, count: 0 }), { time: 100, count: 1 })
  t.strictSame(nextStamp(100, undefined, { time: 200, count: 3 }, { time: 150, count: 0 }), { time: 200, count: 4 })
})

test('of two entries one wins, whichever is asked first: by stamp, by origin, and by value if two replicas have one name', async t => {
  const all = [
    entry,
    { ...entry, stamp: { time: 6, count: 0 } },
    { ...entry, stamp: { time: 5, count: 2 } },
    { ...entry, origin: 'm2' },
    { ...entry, value: other },
    { ...entry, value: undefined } as unknown as Entry
  ]
  for (const a of all) for (const b of all) if (a !== b) t.equal(supersedes(a, b), !supersedes(b, a))
  t.notOk(supersedes(entry, entry), 'an entry does not supersede itself')
})
