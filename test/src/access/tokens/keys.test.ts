import { generateKeyPairSync } from 'node:crypto'
import { test } from 'tap'
import { parseIssuerKeys, parseSigningKeys } from '../../../../src/access/tokens/keys.ts'
import { tokenKey } from '../../../support/tokens.ts'

const pem = (text: string) => Buffer.from(text)

test('keys: the first signs, all verify, private or public', async t => {
  const [one, two] = [tokenKey(), tokenKey()]
  const { signing, verifying } = parseSigningKeys([pem(one.pem), pem(two.publicPem)])
  t.strictSame([signing.id, [...verifying.keys()]], [one.id, [one.id, two.id]])
  t.ok([...verifying.values()].every(key => key.type === 'public'))
})

test('keys: a file that openssl ecparam writes is a key', async t => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const sec1 = privateKey.export({ type: 'sec1', format: 'pem' })
  t.equal(parseSigningKeys([pem(String(sec1))]).verifying.size, 1)
})

test('keys: what cannot sign or verify ES256 is refused, with its place and without its bytes', async t => {
  const good = pem(tokenKey().pem)
  const secret = tokenKey().pem.split('\n')[1] ?? ''
  const bad: [string, Buffer[], RegExp][] = [
    ['RSA', [pem(tokenKey('RS256').pem)], /key 1: expected a key on the curve P-256/],
    ['another curve', [pem(tokenKey('ES256', 'secp384r1').pem)], /key 1: expected a key on the curve P-256/],
    ['a public key first', [pem(tokenKey().publicPem)], /key 1: expected a private key/],
    ['nothing', [good, pem('')], /key 2: /],
    ['half a key', [good, pem(tokenKey().pem.slice(0, 60))], /key 2: /],
    ['bytes of a key', [pem(`${secret}\n`)], /key 1: expected a private key/]
  ]
  for (const [what, files, message] of bad) t.throws(() => parseSigningKeys(files), { message }, what)
  t.throws(() => parseSigningKeys([pem(secret)]), { message: new RegExp(`^(?!.*${secret.slice(0, 20).replace(/[+/]/g, '.')})`) })
})

test('keys of an issuer: PEM with several keys and a JSON Web Key Set are read alike', async t => {
  const [one, two] = [tokenKey('RS256'), tokenKey()]
  const ids = (bytes: Buffer) => [...parseIssuerKeys(bytes).keys()]
  t.strictSame(ids(pem(one.publicPem + two.publicPem)), [one.id, two.id])
  t.strictSame(ids(pem(JSON.stringify({ keys: [one.jwk, two.jwk] }))), [one.id, two.id])
  for (const text of ['', '{', '{}', '{"keys":{}}', '{"keys":[]}', '[]', 'null', one.pem])
    t.throws(() => parseIssuerKeys(pem(text)), Error, text)
})
