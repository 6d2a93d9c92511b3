import { hashSync } from '@node-rs/bcrypt'
import { test } from 'tap'
import { parseHtpasswd } from '../../../src/access/htpasswd.ts'

const hash = (version: '2a' | '2b' | '2y'): string => hashSync('x', 4).replace(/^\$2./, `$${version}`)

test('htpasswd: the three names of bcrypt are read, comments, blank lines and CRLF are skipped', async t => {
  const [a, b, y] = [hash('2a'), hash('2b'), hash('2y')]
  const text = `\uFEFF# users\r\n\r\nana:${a}\r\n   \nbob:${b}\n#ana:old\nyan:${y}`
  t.strictSame(parseHtpasswd(text), [
    { user: 'ana', hash: a, cost: 4 },
    { user: 'bob', hash: b, cost: 4 },
    { user: 'yan', hash: y, cost: 4 }
  ])
})

test('htpasswd: a user with two lines has two entries', async t => {
  const text = `ana:${hash('2y')}\nana:${hash('2y')}\n`
  t.strictSame(
    parseHtpasswd(text).map(entry => entry.user),
    ['ana', 'ana']
  )
})

test('htpasswd: an empty file has no users', async t => {
  t.strictSame(parseHtpasswd(''), [])
})

test('htpasswd: every other scheme is a fault that names line and user and not the hash', async t => {
  const others = ['$apr1$c6qY1kAd$abcdefghijklmnopqrstu.', '{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=', 'rqXexS6ZhobKA', 'plain', '']
  const text = others.map((other, index) => `user${index}:${other}`).join('\n')
  const fault = (() => {
    try {
      return parseHtpasswd(text)
    } catch (error) {
      return String(error)
    }
  })()
  for (const [index, other] of others.entries()) {
    t.match(fault, new RegExp(`line ${index + 1}: user user${index}: only bcrypt`))
    if (other !== '') t.notOk(String(fault).includes(other), 'the hash is not repeated')
  }
})

test('htpasswd: a line without a user, a truncated hash, a control character and an extreme cost are faults', async t => {
  const good = hash('2b')
  t.throws(() => parseHtpasswd('onlytext'), /line 1: expected user:bcrypt/)
  t.throws(() => parseHtpasswd(`:${good}`), /line 1: expected user:bcrypt/)
  t.throws(() => parseHtpasswd(`ana:${good.slice(0, -1)}`), /user ana: only bcrypt/)
  t.throws(() => parseHtpasswd(`a\u0000na:${good}`), /control character/)
  t.throws(() => parseHtpasswd(`ana:${good.replace('$04$', '$31$')}`), /cost 31 is not between/)
  t.throws(() => parseHtpasswd(`ana:${good.replace('$04$', '$03$')}`), /cost 3 is not between/)
})
