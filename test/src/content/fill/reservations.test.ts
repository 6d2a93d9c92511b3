import { test } from 'tap'
import { type CapacityDemand, noCapacity } from '../../../../src/content/fill/capacity.ts'
import { FillReservations } from '../../../../src/content/fill/reservations.ts'

const MIB = 1024 * 1024

/** Reservations of a cache that has `limit` bytes, and what was asked of it. */
function place(limit: number) {
  const asked: { call: 'check' | 'secure'; demand: CapacityDemand }[] = []
  const added: [string, number][] = []
  const fits = (bytes: number) => {
    if (bytes > limit) throw noCapacity(`${bytes} of ${limit}`)
  }
  const sum = ({ own, others }: CapacityDemand, of: 'remaining' | 'secured') =>
    [own, ...others].reduce((all, each) => all + each.written + each[of], 0)
  const reservations = new FillReservations({
    check: async demand => {
      asked.push({ call: 'check', demand: demand() })
      fits(sum(demand(), 'remaining'))
    },
    secure: async demand => {
      asked.push({ call: 'secure', demand: demand() })
      fits(sum(demand(), 'secured'))
    },
    added: (upstream, bytes) => void added.push([upstream, bytes])
  })
  return { reservations, asked, added, last: () => asked.at(-1)?.demand }
}

test('reservations: of fills that each fit but not together, those that came first are admitted', async t => {
  const { reservations } = place(100)
  const fills = [60, 60, 40].map(size => ({ offset: 0, size }))
  const admitted = await Promise.allSettled(fills.map(each => reservations.admit(each, 'one', each.size)))
  t.strictSame(
    admitted.map(each => each.status),
    ['fulfilled', 'rejected', 'rejected'],
    'the last one counted what was asked before it and not refused yet'
  )
  for (const each of fills.slice(1)) reservations.release(each, 'failed')
  await reservations.admit({ offset: 0 }, 'two', 40)
  await t.rejects(reservations.admit({ offset: 0 }, 'three', 1), { code: 'EDQUOT' })
})

test('reservations: capacity is made for what comes, not for what is declared', async t => {
  const { reservations, asked, last } = place(1_000 * MIB)
  const fill = { offset: 0 }
  await reservations.admit(fill, 'one', 500 * MIB)
  t.equal(asked.length, 1)
  await reservations.secure(fill, MIB)
  t.strictSame(last()?.own, { upstream: 'one', written: 0, remaining: 500 * MIB, secured: 65 * MIB })
  fill.offset = 65 * MIB
  t.equal(reservations.secure(fill, 65 * MIB), undefined, 'what is secured costs nothing')
  await reservations.secure(fill, 65 * MIB + 1)
  t.strictSame(last()?.own, { upstream: 'one', written: 65 * MIB, remaining: 435 * MIB, secured: 64 * MIB + 1 })
  fill.offset = 480 * MIB
  await reservations.secure(fill, 500 * MIB)
  t.equal(last()?.own.secured, 20 * MIB)
})

test('reservations: a body without a length is held against the capacity as it grows, and takes half of it at most', async t => {
  const { reservations } = place(100 * MIB)
  const fill = { offset: 0 }
  await reservations.admit(fill, 'one', undefined)
  const grow = async () => {
    for (;;) {
      await reservations.secure(fill, fill.offset + MIB)
      fill.offset += MIB
    }
  }
  await t.rejects(grow(), { code: 'EDQUOT' })
  t.ok(fill.offset >= 25 * MIB && fill.offset <= 50 * MIB, `${fill.offset / MIB} MiB`)
  reservations.release(fill, 'failed')
  await reservations.admit({ offset: 0 }, 'two', 100 * MIB)
})

test('reservations: what was stored is counted as cached, what failed is not', async t => {
  const { reservations, added } = place(100)
  const fills = [{ offset: 10 }, { offset: 20 }]
  for (const each of fills) await reservations.admit(each, 'one', each.offset)
  for (const [index, each] of fills.entries()) reservations.release(each, index === 0 ? 'stored' : 'failed')
  t.strictSame(added, [['one', 10]])
})

test('reservations: what a fill needs is told by upstream', async t => {
  const { reservations, last } = place(1_000)
  const first = { offset: 0 }
  await reservations.admit(first, 'one', 100)
  await reservations.secure(first, 50)
  first.offset = 50
  await reservations.admit({ offset: 0 }, 'one', 10)
  await reservations.admit({ offset: 0 }, 'two', 5)
  t.strictSame(last(), {
    own: { upstream: 'two', written: 0, remaining: 5, secured: 0 },
    others: [{ upstream: 'one', written: 50, remaining: 60, secured: 50 }]
  })
})
