import { test } from 'tap'
import { createLruCache } from '../../../src/content/lru.ts'

test('lru: the entries that were used last are kept, and no more than that', async t => {
  const recent = createLruCache<string, number>(2)
  recent.set('a', 1).set('b', 2)
  recent.get('a')
  recent.set('c', 3)
  t.same([...recent.keys()].sort(), ['a', 'c'])
})
