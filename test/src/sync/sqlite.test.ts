import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Test, test } from 'tap'
import { digestOf } from '../../../src/oci/digest.ts'
import { type Entry, keyOf } from '../../../src/sync/entry.ts'
import { SqliteTable } from '../../../src/sync/sqlite.ts'
import { named } from '../../support/content.ts'
import { folder } from '../support.ts'

const digest = digestOf(Buffer.from('x'))
const factsOfLost = { first: '[]' }
const entry = (key: string): Entry => ({
  kind: 'tag',
  name: named('some/name'),
  key,
  value: digest,
  stamp: { time: 5, count: 1 },
  origin: 'm1'
})
const row = (key: string) => ({ entry: entry(key), state: 'applied' as const, since: 7, older: [digest] })

async function openTable(t: Test, directory: string) {
  const lost: string[] = []
  const table = await SqliteTable.open(directory, { write: task => task(), onLost: reason => void lost.push(reason), factsOfLost })
  t.teardown(() => table[Symbol.asyncDispose]().catch(() => {}))
  return { table, lost }
}

test('what was saved is there the next time, what was dropped is not, and only its user may read it', async t => {
  const directory = join(folder(t), 'sync')
  const { table, lost } = await openTable(t, directory)
  t.same(await table.load(), { rows: [], facts: {} })
  const removed: Entry = { kind: 'tag', name: named('some/name'), key: 'v3', stamp: { time: 6, count: 0 }, origin: 'm2' }
  await table.save({
    rows: [row('v1'), row('v2'), { ...row('v3'), entry: removed, state: 'pending' }],
    dropped: [],
    facts: { a: '1', b: '2' }
  })
  await table.save({ rows: [], dropped: [keyOf(entry('v2'))], facts: { b: '3' } })
  for (const each of readdirSync(directory)) t.equal(statSync(join(directory, each)).mode & 0o077, 0, each)
  await table[Symbol.asyncDispose]()
  const again = await openTable(t, directory)
  const { rows, facts } = await again.table.load()
  t.strictSame(rows, [row('v1'), { ...row('v3'), entry: removed, state: 'pending' }])
  t.strictSame({ ...facts }, { a: '1', b: '3' })
  t.same([lost, again.lost], [[], []])
})

test('kill -9 in the middle of saves: every save that was acknowledged is there, whole', async t => {
  const directory = join(folder(t), 'sync')
  const child = spawn(process.execPath, [join(import.meta.dirname, 'sqlite-mortal.ts'), directory], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let acknowledged = 0
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged = Number(line)
    if (acknowledged === 50) child.kill('SIGKILL')
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  t.ok(acknowledged >= 50)
  const { rows, facts } = await (await openTable(t, directory)).table.load()
  const saves = Number(facts['saves'])
  t.ok(saves >= acknowledged, `${saves} of ${acknowledged}`)
  t.equal(rows.length, 2 * saves, 'none is there in part')
})

test('a damaged table is set aside, a lost one is noticed: the replica then knows that it was one', async t => {
  const directory = join(folder(t), 'sync')
  const first = await openTable(t, directory)
  await first.table.save({ rows: [row('v1')], dropped: [], facts: { a: '1' } })
  await first.table[Symbol.asyncDispose]()
  writeFileSync(join(directory, 'table.db'), 'this is no database, but long enough to be read as one'.repeat(100))
  const damaged = await openTable(t, directory)
  t.match(damaged.lost, [/table\.db is damaged .* was set aside/])
  t.strictSame(await damaged.table.load(), { rows: [], facts: factsOfLost })
  t.ok(readdirSync(directory).includes('table.db.damaged'))
  await damaged.table.save({ rows: [row('v2')], dropped: [], facts: { a: '2' } })
  t.strictSame({ ...(await damaged.table.load()).facts }, { a: '2' })
  await damaged.table[Symbol.asyncDispose]()
  rmSync(join(directory, 'table.db'))
  const gone = await openTable(t, directory)
  t.match(gone.lost, [/table\.db is gone/])
  t.strictSame(await gone.table.load(), { rows: [], facts: factsOfLost })
})

test('a log that grows is written into the database', async t => {
  const directory = join(folder(t), 'sync')
  const { table } = await openTable(t, directory)
  for (let save = 0; save < 12; save++) {
    const rows = Array.from({ length: 2_000 }, (_, index) => row(`v${save}-${index}`))
    await table.save({ rows, dropped: [], facts: {} })
  }
  t.ok(statSync(join(directory, 'table.db-wal')).size < 8 * 1024 * 1024)
  t.equal((await table.load()).rows.length, 24_000)
})
