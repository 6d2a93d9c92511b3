import { test } from 'tap'
import { createPinnedReferences, parsePins } from '../../../src/backend/pinned-references.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { named, tagged } from '../../support/content.ts'

const tag = tagged('v1.2')
const digest = digestOf(Buffer.from('x'))

test('pins: a pattern stands for a name, a tag or a digest, one component or many', t => {
  const cases: [string, boolean[]][] = [
    ['a/b', [true, false, false]],
    ['a/*', [true, false, false]],
    ['a/*:v1.*', [false, true, false]],
    ['a/b:v1.2', [false, true, false]],
    ['a/b:v1x2', [false, false, false]],
    ['*', [false, false, false]],
    ['**', [true, true, true]],
    ['**:v1.2', [false, true, false]],
    [`a/b@${digest}`, [false, false, true]],
    ['a/b@sha256:*', [false, false, true]],
    ['b', [false, false, false]]
  ]
  for (const [pattern, expected] of cases) {
    const pinned = createPinnedReferences([pattern])
    const name = named('a/b')
    t.strictSame([pinned(name), pinned(name, { tag }), pinned(name, { digest })], expected, pattern)
  }
  t.end()
})

test('pins: what is kept of a further upstream is named as clients name it', t => {
  const kept = named('upstreams/ghcr.io_443/org/app')
  t.ok(createPinnedReferences(['ghcr.io:443/org/app'])(kept))
  t.ok(createPinnedReferences(['ghcr.io:443/**:v1.2'])(kept, { tag }))
  t.notOk(createPinnedReferences(['org/app'])(kept))
  t.end()
})

test('pins: a file has one pattern a line, and comments', t => {
  t.strictSame(parsePins('# all\na/b:v1 # why\r\n\n  c/**\n'), ['a/b:v1', 'c/**'])
  t.end()
})
