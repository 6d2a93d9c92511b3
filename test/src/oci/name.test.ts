import { test } from 'tap'
import { isName, isTag, parseName, parseReference, parseTag, referenceText } from '../../../src/oci/name.ts'
import { fc } from '../../support/seeded.ts'

const digest = `sha256:${'a'.repeat(64)}`

test('name: components of lower-case letters and digits, with single separators between, are a name', async t => {
  const names = [
    'a',
    '0',
    'a/b',
    'a.b',
    'a_b',
    'a__b',
    'a-b',
    'a---b',
    'a/b/c/d/e',
    'library/alpine',
    'a.b_c-d__e/f',
    '1.2.3',
    'a'.repeat(255)
  ]
  for (const text of names) t.equal(parseName(text), text)
})

test('name: anything else is NAME_INVALID, with at most 160 characters of it in the response', async t => {
  const hostile = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    '../a',
    'a/..',
    'a/../b',
    '../'.repeat(12),
    '%2e%2e%2f'.repeat(12),
    'a%00',
    'a\0',
    'a\n',
    'A',
    'aB',
    'a b',
    'é',
    'a\u0301',
    'ａ',
    '-a',
    'a-',
    '.a',
    'a.',
    '_a',
    'a_',
    'a..b',
    'a.-b',
    'a-.b',
    'a___b',
    'a_.b',
    '_uploads',
    'a/_uploads/b',
    'a/_layers',
    '.registry',
    'a\\b',
    'a:b',
    'a@b',
    'a'.repeat(256),
    `${'a/'.repeat(127)}ab`,
    'a'.repeat(10_240)
  ]
  for (const text of hostile) {
    t.notOk(isName(text), JSON.stringify(text.slice(0, 80)))
    t.throws(() => parseName(text), { code: 'NAME_INVALID', status: 400, detail: { name: text.slice(0, 160) } })
  }
})

test('name: the error of a name that is too long says so', async t => {
  t.throws(() => parseName('a'.repeat(256)), { code: 'NAME_INVALID', detail: { reason: /longer than 255/ } })
})

// The attack: a pattern that backtracks takes the event loop for minutes. Each of these would end this file in its time-out.
test('name: 10 KiB that nearly match are refused at once', async t => {
  const size = 10_240
  for (const text of ['a', 'a-', '-', 'a/', 'a__', 'a.', '_', 'a--', 'a-a_', '0/-'].flatMap(each => {
    const long = each.repeat(size / each.length)
    return [long, `${long}!`, `${long.slice(0, 254)}`, `${long.slice(0, 254)}!`, `a${long.slice(0, 253)}A`]
  })) {
    if (isName(text)) t.ok(text.length <= 255)
    t.notOk(isName(`${text}!`))
    t.notOk(isTag(`${text}!`))
    t.throws(() => parseReference(`sha256:${text}`))
  }
})

test('name: whatever is a name cannot lead out of its directory', async () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'Z', '0', '.', '_', '-', '/', '%', '\0', ' '), maxLength: 12 })
  fc.assert(
    fc.property(letters, text => {
      if (!isName(text)) return true
      return text.split('/').every(part => /^[a-z0-9]/.test(part) && /[a-z0-9]$/.test(part) && !part.includes('..'))
    }),
    { numRuns: 5000 }
  )
})

test('tag: up to 128 letters, digits, dots, dashes and underscores, not beginning with dot or dash', async t => {
  for (const text of ['a', 'A', '0', '_', 'v1.2.3', '_._-', 'latest', 'x'.repeat(128)]) t.equal(parseTag(text), text)
  for (const text of [
    '',
    '.',
    '..',
    '.a',
    '-a',
    'a b',
    'a/b',
    'a:b',
    'a\n',
    'a\0',
    'é',
    'a+b',
    'x'.repeat(129),
    'x'.repeat(10_240),
    '%2e'
  ]) {
    t.notOk(isTag(text), JSON.stringify(text.slice(0, 40)))
    t.throws(() => parseTag(text), { code: 'MANIFEST_INVALID', status: 400, detail: { tag: text.slice(0, 160) } })
  }
})

test('reference: a digest is a digest, everything without a colon is a tag', async t => {
  t.strictSame(parseReference(digest), { digest })
  t.strictSame(parseReference('v1'), { tag: 'v1' })
  t.strictSame(parseReference('sha256'), { tag: 'sha256' })
  for (const text of [digest, 'v1']) t.equal(referenceText(parseReference(text)), text)
})

test('reference: a digest of bad form is DIGEST_INVALID, a bad tag is MANIFEST_INVALID', async t => {
  for (const text of ['sha256:abc', 'sha384:abc', ':', 'a:b', `${digest}\n`, `sha256:${'A'.repeat(64)}`]) {
    t.throws(() => parseReference(text), { code: 'DIGEST_INVALID', status: 400 }, JSON.stringify(text))
  }
  for (const text of ['', '..', 'a/b', '-']) t.throws(() => parseReference(text), { code: 'MANIFEST_INVALID', status: 400 }, text)
})
