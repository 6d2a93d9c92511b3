import { test } from 'tap'
import { contentRange, parseRange, resolveRange } from '../../../src/oci/range.ts'
import { fc } from '../../support/seeded.ts'

/** What of ten bytes a field selects: the part as text, `416`, or `all` where the field is to be ignored. */
function answer(field: string | undefined, size = 10): string {
  const range = parseRange(field)
  if (!range) return 'all'
  const part = resolveRange(range, size)
  return part ? contentRange(part, size) : '416'
}

const table: [field: string, expected: string][] = [
  ['bytes=0-', 'bytes 0-9/10'],
  ['bytes=0-0', 'bytes 0-0/10'],
  ['bytes=0-9', 'bytes 0-9/10'],
  ['bytes=0-99', 'bytes 0-9/10'],
  ['bytes=9-', 'bytes 9-9/10'],
  ['bytes=3-5', 'bytes 3-5/10'],
  ['bytes=-1', 'bytes 9-9/10'],
  ['bytes=-10', 'bytes 0-9/10'],
  ['bytes=-99', 'bytes 0-9/10'],
  ['bytes=007-008', 'bytes 7-8/10'],
  ['Bytes=1-2', 'bytes 1-2/10'],
  [`bytes=5-${'9'.repeat(400)}`, 'bytes 5-9/10'],
  [`bytes=-${'9'.repeat(400)}`, 'bytes 0-9/10'],
  ['bytes=-0', '416'],
  ['bytes=10-', '416'],
  ['bytes=10-20', '416'],
  ['bytes=5000-10000', '416'],
  ['bytes=500-0', '416'],
  ['bytes=5-4', '416'],
  [`bytes=${'9'.repeat(400)}-`, '416'],
  ['', 'all'],
  ['bytes', 'all'],
  ['bytes=', 'all'],
  ['bytes=-', 'all'],
  ['bytes=a-b', 'all'],
  ['bytes=1', 'all'],
  ['bytes=1-2-3', 'all'],
  ['bytes=--1', 'all'],
  ['bytes=-1-2', 'all'],
  ['bytes=+1-2', 'all'],
  ['bytes=1.5-2', 'all'],
  ['bytes=0x1-0x2', 'all'],
  ['bytes=1-2,', 'all'],
  ['bytes=0-0,2-3', 'all'],
  [`bytes=${Array.from({ length: 10 }, (_, at) => `${at}-${at}`).join()}`, 'all'],
  ['items=0-1', 'all'],
  ['bytes 0-1', 'all'],
  ['0-1', 'all'],
  ['bytes=٠-٣', 'all'],
  [`bytes=${' '.repeat(10_240)}x`, 'all'],
  [`bytes=${'1'.repeat(10_240)}`, 'all']
]

for (const [field, expected] of table) {
  test(`range: ${JSON.stringify(field.slice(0, 40))} of ten bytes is ${expected}`, async t => t.equal(answer(field), expected))
}

test('range: without a field it is the whole', async t => t.equal(answer(undefined), 'all'))

test('range: nothing can be selected of an empty blob', async t => {
  for (const field of ['bytes=0-', 'bytes=0-0', 'bytes=-1', 'bytes=-0']) t.equal(answer(field, 0), '416', field)
})

test('range: a part lies within the blob and has at least one byte, whatever is asked for', async () => {
  const position = fc.oneof(fc.nat(20), fc.bigInt({ min: 0n, max: 10n ** 30n })).map(String)
  const field = fc.tuple(fc.option(position, { nil: '' }), fc.option(position, { nil: '' })).map(([a, b]) => `bytes=${a}-${b}`)
  fc.assert(
    fc.property(field, fc.nat(20), (text, size) => {
      const range = parseRange(text)
      const part = range && resolveRange(range, size)
      return !part || (part.offset >= 0 && part.length > 0 && part.offset + part.length <= size)
    }),
    { numRuns: 5000 }
  )
})
