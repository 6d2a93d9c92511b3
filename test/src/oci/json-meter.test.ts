// The attack: 4 MiB of tiny lists, or of objects that each have other keys, take JSON.parse a hundred times as long as 4
// MiB of manifest: 8.3 s of CPU, in which a registry answers no other client.
import { test } from 'tap'
import { parseJson } from '../../../src/oci/json.ts'
import { JsonMeter, JsonTooCostly } from '../../../src/oci/json-meter.ts'
import { fc } from '../../support/seeded.ts'
import { longestTurnMs } from '../../support/turns.ts'
import { costly, costlyManifest, largeIndex } from '../../support/upstream-hostile.ts'

const mib = 1024 * 1024
// Some 30 ms beside an idle machine. The attacks took seconds.
const tooLongMs = 400

function isAccepted(bytes: Buffer, limit?: number): boolean {
  try {
    new JsonMeter({ limit }).add(bytes)
    return true
  } catch (error) {
    if (error instanceof JsonTooCostly) return false
    throw error
  }
}

for (const kind of Object.keys(costly).filter(each => each !== 'descriptors')) {
  test(`json meter: 4 MiB of ${kind} are refused before they are parsed`, async t => {
    t.throws(() => parseJson(costlyManifest(kind)), { name: 'JsonTooCostly', message: /too many values/ })
  })
}

for (const kind of Object.keys(costly)) {
  test(`json meter: what is accepted of ${kind} is parsed in a moment`, async t => {
    let [most, refused] = [0, 4 * mib]
    while (refused - most > mib / 64) {
      const middle = Math.floor((most + refused) / 2)
      if (isAccepted(costlyManifest(kind, middle))) most = middle
      else refused = middle
    }
    const bytes = costlyManifest(kind, most)
    t.ok(bytes.length > mib / 8, `${bytes.length} bytes`)
    t.ok((await longestTurnMs(async () => parseJson(bytes))) < tooLongMs)
  })
}

test('json meter: honest indexes of thousands of descriptors are accepted, and a full one of 4 MiB', async t => {
  const annotations = ',"annotations":{"org.opencontainers.image.created":"2026-11-30T06:00:00Z","org.opencontainers.image.ref.name":"v1"}'
  const indexes = {
    plain: largeIndex(20_000),
    annotated: largeIndex(11_000, annotations),
    'of least descriptors': costlyManifest('descriptors')
  }
  for (const [title, bytes] of Object.entries(indexes)) {
    t.ok(bytes.length > 3.2 * mib, `${bytes.length} bytes`)
    t.ok(isAccepted(bytes), title)
  }
})

test('json meter: texts, numbers and white space cost by their bytes only', async t => {
  for (const text of [`"${'a'.repeat(4 * mib)}"`, `[${'9'.repeat(4 * mib)}]`, ' '.repeat(4 * mib), `"${'[{\\"'.repeat(mib)}"`])
    t.ok(isAccepted(Buffer.from(text), 100))
})

test('json meter: nesting is bounded, side by side it is not counted', async t => {
  const nested = (depth: number) => Buffer.from('['.repeat(depth) + ']'.repeat(depth))
  t.ok(isAccepted(nested(1_000)))
  t.notOk(isAccepted(nested(1_001)))
  t.ok(isAccepted(Buffer.from(`[${Array(50_000).fill('[[]]').join(',')}]`)))
})

test('json meter: pages under one limit count together', async t => {
  const meter = new JsonMeter({ limit: 1_000 })
  const page = Buffer.from(`[${Array(200).fill('0').join(',')}]`)
  const read = () => {
    meter.next()
    meter.add(page)
  }
  for (let pages = 0; pages < 4; pages++) read()
  t.throws(read, { name: 'JsonTooCostly' })
})

test('json meter: a text costs the same in whatever pieces it arrives', async t => {
  const costOf = (pieces: readonly Buffer[]) => {
    let limit = 0
    for (let step = 1 << 16; step >= 1; step /= 2) {
      const meter = new JsonMeter({ limit: limit + step - 1 })
      try {
        for (const each of pieces) meter.add(each)
      } catch {
        limit += step
      }
    }
    return limit
  }
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.array(fc.nat(), { maxLength: 4 }), (text, cuts) => {
      const bytes = Buffer.from(text)
      const at = [0, ...cuts.map(each => each % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
      const pieces = at.slice(1).map((end, index) => bytes.subarray(at[index], end))
      return costOf(pieces) === costOf([bytes])
    })
  )
  t.pass()
})

test('json meter: whatever is no JSON is JSON.parse’s to refuse', async t => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.uint8Array().map(each => Buffer.from(each).toString('latin1'))
      ),
      text => isAccepted(Buffer.from(text))
    )
  )
  t.throws(() => parseJson(Buffer.from(']]}{"')), { name: 'SyntaxError' })
  t.throws(() => parseJson(Buffer.from([0x22, 0xc3, 0x28, 0x22])), { name: 'TypeError' })
})
