import { test } from 'tap'
import { parseReferenceList } from '../../../src/commands/references.ts'
import { reportText } from '../../../src/why/screen.ts'
import { bytesText, durationText, plain } from '../../../src/why/text.ts'
import { resultText, totalText } from '../../../src/why/verify-text.ts'
import { host, inFront, own, path, whyOf } from './scene.ts'

test('the screen fits on one: names of rows are aligned, and the sentence is last', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.addImage(path, 'v1')
  const lines = reportText(await whyOf(registry, `${host}/${own}:v1`)).split('\n')
  t.ok(lines.length <= 24, `${lines.length} lines`)
  t.equal(lines.at(-1), '')
  t.match(lines.at(-2), /^A pull works/)
  t.equal(lines.at(-3), '')
  for (const line of lines.slice(0, -3)) t.match(line, /^(.{10}) {2}\S/)
})

test('the report of an image of 200 blobs sums up stored ones and lists missing ones', async t => {
  const blobs = Array.from({ length: 200 }, (_, at) => ({
    digest: `sha256:${at}`,
    size: 1024,
    state: at === 7 ? ('missing' as const) : ('here' as const)
  }))
  const manifest = { digest: 'sha256:m', mediaType: 'a/b', size: 5, from: 'store' as const }
  const route = { mode: 'Local', name: 'a', anonymousPull: 'allowed' } as const
  const manifests = [{ digest: 'sha256:m', size: 5, state: 'here' as const, blobs }]
  const screen = reportText({ reference: 'a:b', works: false, cause: 'blob-unknown', advice: 'Push it.', route, manifest, manifests })
  t.match(screen, /200 blobs \(200 KiB\): 199 stored here, 1 MISSING\n.*sha256:7 .*MISSING/)
  t.ok(screen.split('\n').length < 12)
})

test('the message of an upstream cannot move the cursor of the terminal', async t => {
  t.equal(plain('a\u001b[2Jb\nc'), 'a [2Jb c')
})

test('a set: one reference a line, without comments and blank lines', async t => {
  t.strictSame(parseReferenceList('# all\n\n a:1 \nb:2 # the second\r\nc@sha256:1\n'), ['a:1', 'b:2', 'c@sha256:1'])
})

test('a result names missing parts, and the total ends with the advice', async t => {
  const lacks = [{ kind: 'blob', digest: 'sha256:1', size: 2048, state: 'missing' }] as const
  const text = resultText({ reference: 'a:1', complete: false, manifests: 1, blobs: 0, bytes: 9, lacks: [...lacks] })
  t.match(text, /^INCOMPLETE {2}a:1\n.*missing: blob sha256:1 \(2\.0 KiB\)\n$/)
  t.match(totalText({ references: 2, complete: 1, lacks: 1 }), /^1 of 2 references are incomplete \(1 parts.*push or pull them again\.\n$/)
  t.match(totalText({ references: 0, complete: 0, lacks: 0 }), /nothing to verify/)
})

for (const [bytes, text] of [
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [200 * 1024, '200 KiB'],
  [3.5 * 1024 ** 3, '3.5 GiB']
] as const) {
  test(`bytes for people: ${text}`, async t => {
    t.equal(bytesText(bytes), text)
  })
}

for (const [seconds, text] of [
  [59.9, '59 s'],
  [61, '1 min 1 s'],
  [7_260, '2 h 1 min'],
  [90_000, '1 d 1 h']
] as const) {
  test(`durations for people: ${text}`, async t => {
    t.equal(durationText(seconds), text)
  })
}
