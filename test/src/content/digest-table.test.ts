import { test } from 'tap'
import { DigestSet } from '../../../src/content/digest-table.ts'
import { type Digest, digestOf, parseDigest } from '../../../src/oci/digest.ts'

test('digest set: it has what was added, however much it grows, and nothing else', t => {
  const set = new DigestSet()
  const digests = Array.from({ length: 20_000 }, (_, at) => digestOf(Buffer.from(String(at)), at % 2 ? 'sha512' : 'sha256'))
  for (const each of digests) set.add(each)
  for (const each of digests) set.add(each)
  t.equal(set.size, digests.length)
  t.ok(digests.every(each => set.has(each)))
  t.notOk(Array.from({ length: 20_000 }, (_, at) => digestOf(Buffer.from(`other ${at}`))).some(each => set.has(each)))
  t.end()
})

test('digest set: digests of zeros and digests that share a prefix are kept apart', t => {
  const set = new DigestSet()
  const of = (text: string): Digest => parseDigest(`sha256:${text.padEnd(64, '0')}`)
  t.notOk(set.has(of('')))
  set.add(of(''))
  t.ok(set.has(of('')))
  for (let at = 1; at < 40; at++) set.add(of(`${'0'.repeat(6)}ff${at.toString(16).padStart(8, '0')}`))
  t.equal(set.size, 40)
  t.end()
})
