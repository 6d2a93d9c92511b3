import { test } from 'tap'
import { type CountedConnection, closableConnections } from '../../../src/ports/idle-connections.ts'

const at = (key: string, usedAtMs: number, idle = true): CountedConnection => ({ key, usedAtMs, idle })
const many = (count: number, each: CountedConnection): CountedConnection[] => Array.from({ length: count }, () => ({ ...each }))
const order = (connections: CountedConnection[], max: number, newKey: string, nowMs = 10_000): string[] =>
  closableConnections(connections, { max, newKey, nowMs })
    .closable.toReversed()
    .map(({ connection: { key, usedAtMs }, young }) => `${key} ${usedAtMs}${young ? ' young' : ''}`)

test('idle connections: the longest idle one of the address with the most goes first, until others have as many', t => {
  const connections = [at('a', 3), at('a', 1), at('a', 2), at('b', 0), at('b', 5)]
  t.strictSame(order(connections, 5, 'c').slice(0, 3), ['a 1', 'a 2', 'b 0'])
  t.end()
})

test('idle connections: one with a request under way is never closed', t => {
  t.strictSame(order(many(5, at('a', 0, false)), 5, 'b'), [])
  t.strictSame(order([...many(4, at('a', 0, false)), at('b', 1)], 5, 'c'), ['b 1'])
  t.end()
})

test('idle connections: young ones are closed down to the share of their address', t => {
  t.strictSame(order(many(10, at('a', 9_999)), 10, 'b'), Array(5).fill('a 9999 young'))
  t.strictSame(order([...many(5, at('a', 9_999)), ...many(5, at('b', 9_999))], 10, 'b'), [])
  t.end()
})

test('idle connections: a cluster behind one address keeps its young ones', t => {
  t.strictSame(order(many(10, at('a', 9_999)), 10, 'a'), [])
  t.strictSame(order([...many(9, at('a', 9_999)), at('a', 8_000)], 10, 'a'), ['a 8000'])
  t.end()
})

test('idle connections: a search finds a few, however many there are', t => {
  t.equal(order(many(5_000, at('a', 0)), 5_000, 'b').length, 64)
  t.end()
})
