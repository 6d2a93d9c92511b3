import { test } from 'tap'
import { parsePodReference } from '../../../src/oci/pod-reference.ts'
import { similarTags } from '../../../src/why/similar-tags.ts'

const digest = `sha256:${'a'.repeat(64)}`

for (const [text, parts] of [
  ['registry.test:5001/a/b:v1', { host: 'registry.test:5001', name: 'a/b', reference: { tag: 'v1' } }],
  ['a/b:v1', { name: 'a/b', reference: { tag: 'v1' } }],
  ['a/b', { name: 'a/b', reference: { tag: 'latest' } }],
  ['app:v1', { name: 'app', reference: { tag: 'v1' } }],
  ['localhost/a:v1', { host: 'localhost', name: 'a', reference: { tag: 'v1' } }],
  ['Registry.Test/a:V1', { host: 'registry.test', name: 'a', reference: { tag: 'V1' } }],
  [`a/b:v1@${digest}`, { name: 'a/b', reference: { digest } }],
  [`a/b@${digest}`, { name: 'a/b', reference: { digest } }],
  ['docker.io/nginx:1', { host: 'docker.io', name: 'library/nginx', reference: { tag: '1' } }]
] as const) {
  test(`a reference is read as containerd reads it: ${text.slice(0, 40)}`, async t => {
    t.strictSame(parsePodReference(text), parts)
  })
}

for (const text of [
  '',
  '/',
  'a//b',
  'a:b:c',
  'a@',
  `a@${digest}@${digest}`,
  'a b',
  'http://a/b',
  '../a',
  '\u212a8s.test/a',
  `${'a'.repeat(300)}:v1`
]) {
  test(`no reference: ${JSON.stringify(text.slice(0, 40))}`, async t => {
    t.throws(() => parsePodReference(text), { name: 'MalformedReference' })
  })
}

test('near tags: the fewest edits first, at most three', async t => {
  t.strictSame(similarTags(['v1.70.10', 'v1.70.1', 'v1.71.0', 'v9', 'alpha'], 'v1.70.0'), ['v1.70.10', 'v1.70.1', 'v1.71.0'])
  t.strictSame(similarTags(['v1.70', 'v2-long-name'], 'v1'), ['v1.70'], 'and those that go on')
  t.strictSame(similarTags(['something', 'else'], 'v1'), [])
})
