import { test } from 'tap'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { type Entry, keyOf } from '../../../src/sync/entry.ts'
import type { TableStore } from '../../../src/sync/ports.ts'
import { Table } from '../../../src/sync/table/table.ts'
import { named } from '../../support/content.ts'
import { fc } from '../../support/seeded.ts'

const name = named('some/name')
const digests = ['a', 'b', 'c'].map(each => digestOf(Buffer.from(each)))
const [a, b] = digests as [Digest, Digest]
const forgetful: TableStore = { load: async () => ({ rows: [], facts: {} }), save: async () => {} }
const keepMs = 1_000_000

function table(store = forgetful, maxRows?: number): Table {
  const zero = { time: 0, count: 0 }
  return new Table(store, {
    now: () => 1_000,
    monotonic: () => 0,
    keepMs,
    horizon: () => zero,
    onPending: () => {},
    ...(maxRows === undefined ? {} : { maxRows })
  })
}

const tag = (key: string, time: number, value?: Digest, origin = 'm1'): Entry => ({
  kind: 'tag',
  name,
  key,
  ...(value === undefined ? {} : { value }),
  stamp: { time, count: 0 },
  origin
})
const revision = (key: Digest, time: number, exists: boolean, origin = 'm1'): Entry => ({
  kind: 'revision',
  name,
  key,
  ...(exists ? { value: key } : {}),
  stamp: { time, count: 0 },
  origin
})
const entriesOf = (of: Table) => [...of.rows()].map(([, row]) => row.entry).sort((x, y) => (keyOf(x) < keyOf(y) ? -1 : 1))

const anyEntry = fc.oneof(
  fc
    .record({
      key: fc.constantFrom('v1', 'v2'),
      time: fc.integer({ min: 1, max: 6 }),
      value: fc.constantFrom(undefined, ...digests),
      origin: fc.constantFrom('m1', 'm2')
    })
    .map(({ key, time, value, origin }) => tag(key, time, value, origin)),
  fc
    .record({
      key: fc.constantFrom(...digests),
      time: fc.integer({ min: 1, max: 6 }),
      exists: fc.boolean(),
      origin: fc.constantFrom('m1', 'm2')
    })
    .map(({ key, time, exists, origin }) => revision(key, time, exists, origin))
)

test('replicas that got the same entries in any order, any number of times, are equal once they have exchanged theirs', async t => {
  const orders = fc
    .array(anyEntry, { maxLength: 12 })
    .chain(all => fc.tuple(fc.constant(all), fc.shuffledSubarray([...all, ...all], { minLength: 2 * all.length })))
  const property = fc.property(orders, ([all, again]) => {
    const [one, other] = [table(), table()]
    for (const each of all) one.merge(each)
    for (const each of again) other.merge(each)
    for (let rounds = 0; rounds < 3; rounds++) {
      for (const each of entriesOf(other)) one.merge(each)
      for (const each of entriesOf(one)) other.merge(each)
    }
    t.strictSame(entriesOf(other), entriesOf(one))
    t.equal(other.root(), one.root())
    t.same(one.buckets.differing(other.buckets.sums()), [])
  })
  fc.assert(property, { numRuns: 300 })
})

test('a removed manifest takes older tags with it, also those that its remover had not seen, and no later one', async t => {
  const one = table()
  one.merge(tag('old', 3, a))
  one.merge(revision(a, 5, false, 'm2'))
  one.merge(tag('unseen', 4, a))
  one.merge(tag('new', 6, a))
  const digestUnder = (key: string) => one.get(keyOf({ kind: 'tag', name, key }))?.entry.value
  t.equal(digestUnder('old'), undefined)
  t.equal(digestUnder('unseen'), undefined)
  t.equal(digestUnder('new'), a)
  t.notOk(one.isRemoved(name, a), 'the later tag asserts its manifest')
})

test('a table from a peer that has no end: what is beyond the limit is not taken, and what is known is still updated', async t => {
  const one = table(forgetful, 4)
  for (let index = 0; index < 100; index++) one.merge(revision(digestOf(Buffer.from(String(index))), 1, true))
  t.equal(one.size, 4)
  t.ok(one.merge(revision(digestOf(Buffer.from('0')), 2, false)))
})

test('only what is durable is told to peers; a disk that is full loses nothing of it', async t => {
  const saved: string[] = []
  let full = true
  const one = table({
    load: forgetful.load,
    save: async ({ rows }) => {
      if (full) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
      saved.push(...rows.map(each => keyOf(each.entry)))
    }
  })
  one.write('m1', [{ kind: 'tag', name, key: 'v1', value: a }])
  await t.rejects(one.flush(), { code: 'ENOSPC' })
  t.same(one.since(0, 10, 'm2').entries, [])
  t.same(one.bucket(0).concat(...Array.from({ length: 255 }, (_, index) => one.bucket(index + 1))), [])
  full = false
  one.write('m1', [{ kind: 'tag', name, key: 'v1', value: b }])
  await one.flush()
  t.same(
    one
      .since(0, 10, 'm2')
      .entries.map(each => each.kind)
      .sort(),
    ['revision', 'revision', 'tag'],
    'each key once'
  )
  t.equal(saved.length, 3)
})

test('the feed goes on after a place, skips what its reader sent, and is as long as the table', async t => {
  const one = table()
  for (let round = 1; round <= 5_000; round++) one.merge(tag('v1', round, round % 2 ? a : b), 'incarnation of m1')
  one.merge(tag('v2', 7, a), 'incarnation of m2')
  await one.flush()
  const { entries, next } = one.since(0, 100, 'incarnation of m2')
  t.ok(entries.length <= 3, 'a key counts once')
  t.notOk(entries.some(each => each.key === 'v2'))
  t.equal(next, one.journal.head)
  t.same(one.since(next, 100, 'incarnation of m3').entries, [])
})
