import { test } from 'tap'
import { type Verified, VerifiedTokens } from '../../../../src/access/tokens/verified-tokens.ts'

const never = Number.POSITIVE_INFINITY

test('verified tokens: 10,000 different ones are remembered within bounds, those used last longest', async t => {
  let verified = 0
  const maxBytes = 1024 * 1024
  const verify = async (token: string): Promise<Verified<string>> => {
    verified++
    return { value: token, endsAt: never }
  }
  const tokens = new VerifiedTokens({ verify, now: () => 0, maxBytes })
  const token = (index: number) => `${index}`.padEnd(1_000, 'x')
  for (let index = 0; index < 10_000; index++) {
    await tokens.verify(token(index))
    tokens.known(token(0))
  }
  t.equal(verified, 10_000)
  t.ok(tokens.size >= 100 && tokens.size * 2_000 <= maxBytes, `${tokens.size}`)
  t.strictSame([tokens.known(token(0)), tokens.known(token(1)), tokens.known(token(9_999))], [token(0), undefined, token(9_999)])
})

test('verified tokens: what is verified while keys change is not remembered', async t => {
  const door = Promise.withResolvers<void>()
  const tokens = new VerifiedTokens({ verify: () => door.promise.then(() => ({ value: 1, endsAt: never })), now: () => 0 })
  const verifying = tokens.verify('a')
  tokens.forget()
  door.resolve()
  t.strictSame([await verifying, tokens.known('a'), tokens.size], [1, undefined, 0])
})

test('verified tokens: a token that is refused is refused for all who wait, and verified anew after that', async t => {
  let verified = 0
  const verify = async (): Promise<Verified<number>> => {
    verified++
    throw new Error('no')
  }
  const tokens = new VerifiedTokens({ verify, now: () => 0 })
  const outcomes = await Promise.allSettled([tokens.verify('a'), tokens.verify('a')])
  t.strictSame([outcomes.map(each => each.status), verified], [['rejected', 'rejected'], 1])
  await t.rejects(tokens.verify('a'))
  t.equal(verified, 2)
})
