import { test } from 'tap'
import { basicChallenge, parseBasic } from '../../../src/access/basic.ts'

const encode = (bytes: string | Buffer): string => `Basic ${Buffer.from(bytes).toString('base64')}`

test('basic: user and password are cut at the first colon, whatever the case of the scheme', async t => {
  t.strictSame(parseBasic(encode('ana:se:cret')), { user: 'ana', password: Buffer.from('se:cret') })
  t.strictSame(parseBasic(encode('ana:').replace('Basic', 'bAsIc ')), { user: 'ana', password: Buffer.alloc(0) })
  t.strictSame(parseBasic(encode('jürgen:пароль')), { user: 'jürgen', password: Buffer.from('пароль') })
})

test('basic: password bytes that are not UTF-8 are kept as they are', async t => {
  const bytes = Buffer.from([0x61, 0x3a, 0xe4, 0xff])
  t.strictSame(parseBasic(encode(bytes)), { user: 'a', password: Buffer.from([0xe4, 0xff]) })
})

test('basic: neither user nor password is empty, and not malformed', async t => {
  t.equal(parseBasic(encode(':')), 'empty')
  t.equal(parseBasic('Basic Og=='), 'empty')
})

const malformed: [string, string][] = [
  ['an empty header', ''],
  ['another scheme', 'Bearer abc'],
  ['a scheme alone', 'Basic'],
  ['no base64', 'Basic !!!!'],
  ['base64 with something behind it', `${encode('a:b')} x`],
  ['no colon', encode('ana')],
  ['no user', encode(':secret')],
  ['no user and a colon as the password', encode('::')],
  ['a NUL in the user', encode('a\0na:b')],
  ['a NUL in the password', encode('ana:b\0c')],
  ['a line break in the password', encode('ana:b\n')],
  ['a user that is not UTF-8', encode(Buffer.from([0xff, 0x3a, 0x61]))],
  ['100 KiB', encode(`ana:${'x'.repeat(100 * 1024)}`)]
]
for (const [what, header] of malformed) {
  test(`basic: ${what} is not a Basic header`, async t => {
    t.equal(parseBasic(header), undefined)
  })
}

test('basic: a quote in the realm cannot end it', async t => {
  t.strictSame(basicChallenge('a"b'), { 'WWW-Authenticate': 'Basic realm="a\\"b", charset="UTF-8"' })
})
