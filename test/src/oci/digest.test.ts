import { test } from 'tap'
import {
  algorithmOf,
  createDigester,
  digestOf,
  emptyDigest,
  encodedOf,
  isAlgorithm,
  isDigest,
  parseDigest
} from '../../../src/oci/digest.ts'

const hex = (length: number): string => '0123456789abcdef'.repeat(8).slice(0, length)
const abc = Buffer.from('abc')
// FIPS 180-4, the example of one block.
const abc256 = 'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
const abc512 =
  'sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f'

test('digest: sha256 and sha512 in lower-case hex of the right length are digests', async t => {
  for (const text of [`sha256:${hex(64)}`, `sha512:${hex(128)}`]) {
    t.ok(isDigest(text))
    t.equal(parseDigest(text), text)
  }
})

test('digest: any other form is DIGEST_INVALID, with at most 160 characters of it in the response', async t => {
  const hostile = [
    '',
    ':',
    'sha256',
    'sha256:',
    hex(64),
    `sha256:${hex(63)}`,
    `sha256:${hex(65)}`,
    `sha512:${hex(64)}`,
    `sha256:${hex(64).toUpperCase()}`,
    `SHA256:${hex(64)}`,
    `sha256:${hex(63)}g`,
    ` sha256:${hex(64)}`,
    `sha256:${hex(64)}\n`,
    `sha256:${hex(64)}\0`,
    `sha256:../../../../${hex(52)}`,
    `sha384:${hex(96)}`,
    `md5:${hex(32)}`,
    `sha256+b64:${hex(64)}`,
    `sha256:${'a'.repeat(10_240)}`,
    '__proto__:constructor'
  ]
  for (const text of hostile) {
    t.notOk(isDigest(text), JSON.stringify(text.slice(0, 80)))
    try {
      parseDigest(text)
      t.fail(text)
    } catch (error) {
      t.match(error, { code: 'DIGEST_INVALID', status: 400, detail: { digest: text.slice(0, 160) } })
    }
  }
})

test('digest: algorithms that cannot be verified are none', async t => {
  for (const text of ['sha256', 'sha512']) t.ok(isAlgorithm(text))
  for (const text of ['', 'SHA256', 'sha384', 'md5', 'constructor', '__proto__']) t.notOk(isAlgorithm(text), text)
})

test('digest: the digest of bytes is that of the standard', async t => {
  t.equal(digestOf(abc), abc256)
  t.equal(digestOf(abc, 'sha512'), abc512)
  t.equal(emptyDigest.sha256, 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  t.equal(algorithmOf(emptyDigest.sha512), 'sha512')
})

test('digest: a digest falls into its algorithm and its encoded part', async t => {
  for (const text of [abc256, abc512]) {
    const digest = parseDigest(text)
    t.equal(`${algorithmOf(digest)}:${encodedOf(digest)}`, text)
  }
})

test('digester: the digest of all bytes so far can be computed in between', async t => {
  const digester = createDigester()
  t.equal(digester.digest(), emptyDigest.sha256)
  digester.update(Buffer.from('ab'))
  digester.digest()
  digester.update(Buffer.from('c'))
  t.equal(digester.digest(), abc256)
  t.equal(digester.algorithm, 'sha256')
})

test('digester: a copy goes its own way', async t => {
  const digester = createDigester('sha512')
  digester.update(Buffer.from('ab'))
  const copy = digester.copy()
  copy.update(Buffer.from('x'))
  digester.update(Buffer.from('c'))
  t.equal(digester.digest(), abc512)
  t.equal(copy.digest(), digestOf(Buffer.from('abx'), 'sha512'))
})
