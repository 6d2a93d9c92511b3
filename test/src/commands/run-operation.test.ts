import { join } from 'node:path'
import { type Test, test } from 'tap'
import { du } from '../../../src/commands/du.ts'
import { gc } from '../../../src/commands/gc.ts'
import { prefetch } from '../../../src/commands/prefetch.ts'
import { purge } from '../../../src/commands/purge.ts'
import type { CommandContext } from '../../../src/commands/run-operation.ts'
import { scrub } from '../../../src/commands/scrub.ts'
import type { StorageContext } from '../../../src/operations/operation.ts'
import { operations } from '../../../src/operations/operations.ts'
import { configured, folder } from '../support.ts'

type Run = (input: Record<string, unknown>) => AsyncIterable<object>

/** A command without a registry, over operations that run as given. */
function scene(t: Test, runs: Partial<Record<keyof typeof operations, Run>>, form: 'text' | 'json' = 'text') {
  const printed: string[] = []
  const lines: (string | undefined)[] = []
  const recorded: object[] = []
  let closed = 0
  const fakes = Object.entries(runs).map(([name, run]) => [name, { ...operations[name as keyof typeof operations], needs: 'storage', run }])
  const context: CommandContext = {
    config: configured(t, { server: { control: join(folder(t), 'none.sock') } }),
    operations: { ...operations, ...Object.fromEntries(fakes) },
    openOffline: async () => ({
      context: {} as StorageContext,
      record: async entry => void recorded.push(entry),
      close: async () => void closed++
    }),
    output: { form, print: text => printed.push(text), progress: line => lines.push(line) },
    signal: new AbortController().signal
  }
  return { context, lines, text: () => printed.join(''), closed: () => closed, recorded }
}

const yielding = (...events: object[]) =>
  async function* () {
    yield* events
  }

const removals = [
  { type: 'progress', done: 1, total: 4, unit: 'items' },
  { type: 'remove', kind: 'blob', digest: 'sha256:abc', bytes: 2048, reason: 'no manifest needs it' },
  { type: 'remove', kind: 'tag', name: 'a/b', tag: 'v1', reason: 'not asked for since 2025' },
  { type: 'done', removed: 2 }
]

test('gc: removed objects with their reasons, and the sum', async t => {
  const { context, text, lines, closed } = scene(t, { gc: yielding(...removals) })
  await gc({}, context)
  t.equal(
    text(),
    `removed  blob sha256:abc (2.0 KiB): no manifest needs it
removed  tag v1 in a/b: not asked for since 2025
removed 2 objects, 2.0 KiB.
`
  )
  t.match(lines[0], /^\[#{8}\.{22}\] 25 %, 1 of 4$/)
  t.equal(lines.at(-1), undefined, 'the bar is taken away')
  t.equal(closed(), 1)
})

test('a command that works without a registry tells the audit stream who began it, and with what result it ended', async t => {
  const { context, recorded } = scene(t, { gc: yielding(...removals) })
  await gc({}, context)
  const by = { action: 'gc', actor: 'local', uid: process.getuid?.(), input: { dryRun: false } }
  t.match(recorded, [
    { ...by, state: 'begun' },
    { ...by, state: 'done', result: { removed: 2 } }
  ])
  const failing = scene(t, {
    gc: async function* () {
      yield* removals.slice(0, 1)
      throw new Error('the disk broke')
    }
  })
  await t.rejects(gc({}, failing.context), /the disk broke/)
  t.match(failing.recorded, [{ state: 'begun' }, { state: 'failed', reason: 'the disk broke' }])
})

test('gc --dry-run: the operation gets the flag, and the text says so', async t => {
  const asked: unknown[] = []
  const { context, text } = scene(t, {
    gc: async function* ({ dryRun }) {
      asked.push(dryRun)
      yield* removals
    }
  })
  await gc({ dryRun: true }, context)
  t.strictSame(asked, [true])
  t.match(text(), /^would remove {2}blob/)
  t.match(text(), /would remove 2 objects/)
})

test('prefetch: where no registry runs, the error says so', async t => {
  const { context } = scene(t, {})
  await t.rejects(prefetch(['a:v1'], { atOnce: '4' }, context), { message: /only a running registry can do this/ })
})

test('json: every event is a line, progress included', async t => {
  const { context, text, lines } = scene(t, { gc: yielding(...removals) }, 'json')
  await gc({}, context)
  t.strictSame(
    text()
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line)),
    removals
  )
  t.strictSame(lines.filter(Boolean), [])
})

test('an operation that ends without its last event has failed', async t => {
  const { context, closed } = scene(t, { gc: yielding(...removals.slice(0, 2)) })
  await t.rejects(gc({}, context), { message: /run it again/ })
  t.equal(closed(), 1)
})

test('an operation that fails is closed, and its error passed on', async t => {
  const { context, closed } = scene(t, {
    du: async function* () {
      yield { type: 'progress', done: 1, unit: 'items' }
      throw new Error('the disk is gone')
    }
  })
  await t.rejects(du(context), { message: 'the disk is gone' })
  t.equal(closed(), 1)
})

test('scrub: damage and warnings are lines, and names cannot move the cursor', async t => {
  const { context, text } = scene(t, {
    scrub: yielding(
      { type: 'damaged', kind: 'blob', digest: 'sha256:abc', names: ['a', 'b'], reason: '5 bytes\u001b[2J', action: 'quarantined' },
      { type: 'warning', kind: 'upload', session: 'x', names: ['a'], reason: 'strange' },
      { type: 'done', blobs: 3, bytes: 4096, repositories: 2, damaged: 1, mended: 0, warnings: 1 }
    )
  })
  t.equal(await scrub(undefined, context), false)
  t.equal(
    text(),
    `quarantined  blob sha256:abc in a, b: 5 bytes [2J
warning      upload x in a: strange
3 blobs (4.0 KiB) and 2 repositories were verified: 1 objects are damaged, 1 are left: push them again, or pull them through the cache; 1 warnings.
`
  )
})

test('du: a table', async t => {
  const { context, text } = scene(t, {
    du: yielding(
      { type: 'repository', name: 'a/b', bytes: 3072, own: 1024, shared: 2048, blobs: 2, manifests: 1, tags: 1 },
      { type: 'done', repositories: 1, bytes: 3072, blobs: 3, unlinked: 0, quarantined: 512 }
    )
  })
  await du(context)
  t.match(
    text(),
    /^ {5}TOTAL {9}OWN {6}SHARED {5}BLOBS {2}MANIFESTS {4}TAGS {2}REPOSITORY\n {3}3\.0 KiB {5}1\.0 KiB {5}2\.0 KiB +2 +1 +1 {2}a\/b\n {3}3\.0 KiB {2}all together/
  )
  t.match(text(), /512 B are in quarantine/)
})

test('purge: removed objects, and that the bytes are removed later', async t => {
  const { context, text } = scene(t, {
    purge: yielding(
      { type: 'removed', kind: 'tag', name: 'a', tag: 'v1', digest: 'sha256:abc' },
      { type: 'done', tags: 1, manifests: 0, blobs: 0 }
    )
  })
  await purge('a:v1', {}, context)
  t.match(
    text(),
    /^removed {2}tag v1 sha256:abc in a\n1 tags, 0 manifests and 0 blobs were removed; their bytes go with the next garbage collection/
  )
})

test('prefetch: failures are printed again at the end', async t => {
  const { context, text } = scene(t, {
    prefetch: yielding(
      { type: 'reference', reference: 'a:v1', result: 'failed', reason: 'no' },
      { type: 'reference', reference: 'a:v2', result: 'fetched', blobs: 2, fetched: 1, bytes: 1024 },
      { type: 'done', references: 2, failed: 1 }
    )
  })
  t.equal(await prefetch(['a:v1', 'a:v2'], { atOnce: '4' }, context), false)
  t.equal(
    text(),
    'failed   a:v1: no\nfetched  a:v2  1 of 2 blobs were fetched, 1.0 KiB in all\n\n1 of 2 references are stored.\nfailed   a:v1: no\n'
  )
})

const digest = `sha256:${'0'.repeat(63)}`
const wrong: Record<string, (context: CommandContext) => Promise<unknown>> = {
  ...Object.fromEntries(
    ['../etc', 'A', '', '/', 'a:v1', `a@${digest}`, 'a\u0000'].map(each => [
      `scrub ${each}`,
      (context: CommandContext) => scrub(each, context)
    ])
  ),
  ...Object.fromEntries(
    ['', 'a:', '--yes', 'host:5000/a:v1', '../../etc/passwd', `a@${digest}`].map(each => [
      `purge ${each}`,
      (context: CommandContext) => purge(each, { yes: true }, context)
    ])
  ),
  ...Object.fromEntries(
    ['', '0', '-1', '65', '1.5', 'many', '1e1', ' 4'].map(each => [
      `prefetch --at-once ${each}`,
      (context: CommandContext) => prefetch(['a:v1'], { atOnce: each }, context)
    ])
  ),
  ...Object.fromEntries(
    ['', 'linux', 'linux/', '/amd64', 'linux/amd64;rm', 'linux/amd64/v1/v2', 'Linux/amd64'].map(each => [
      `prefetch --platform ${each}`,
      (context: CommandContext) => prefetch(['a:v1'], { atOnce: '4', platform: ['linux/amd64', each] }, context)
    ])
  ),
  'prefetch of nothing': context => prefetch([], { atOnce: '4' }, context)
}
for (const [title, call] of Object.entries(wrong)) {
  test(`wrong use, before anything runs: ${JSON.stringify(title)}`, async t => {
    const { context, text, closed } = scene(t, {})
    await t.rejects(call(context), { name: 'WrongUse', message: /\S/ })
    t.equal(text(), '')
    t.equal(closed(), 0)
  })
}

test('purge: of pushed content without --yes is wrong use too', async t => {
  const refused = Object.assign(new Error('4 objects were pushed; --yes removes them'), { name: 'PushedContent' })
  const { context } = scene(t, {
    purge: async function* () {
      yield { type: 'progress', done: 0, unit: 'items' }
      throw refused
    }
  })
  await t.rejects(purge('a', {}, context), { name: 'WrongUse', message: refused.message })
})
