import { execFileSync } from 'node:child_process'
import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { AuditFile } from '../../../src/telemetry/audit-file.ts'
import { cannotMount, SmallDisk } from '../api/small-disk.ts'
import { folder } from '../support.ts'

async function opened(t: Test, path = join(folder(t), 'audit.log')) {
  const faults: unknown[] = []
  const recoveries: number[] = []
  const file = await AuditFile.open(path, { onFault: each => faults.push(each), onRecovery: lost => recoveries.push(lost) })
  t.teardown(() => file.close())
  const write = async (line: string) => {
    file.append(`${line}\n`)
    await file.flush()
  }
  return { file, path, write, faults, recoveries, lines: () => readFileSync(path, 'utf8').split('\n').slice(0, -1) }
}

test('audit file: it is made for its owner alone, and one that exists keeps its lines and its mode', async t => {
  const { path, write, lines } = await opened(t)
  await write('one')
  t.equal(statSync(path).mode & 0o777, 0o600)
  chmodSync(path, 0o640)
  const again = await opened(t, path)
  await again.write('two')
  t.equal(statSync(path).mode & 0o777, 0o640)
  t.strictSame(lines(), ['one', 'two'])
})

test('audit file: what is flushed is in the file, in order, however many lines come at once', async t => {
  const { file, write, lines } = await opened(t)
  const all = Array.from({ length: 500 }, (_, index) => `line ${index}`)
  await Promise.all(all.map(write))
  t.strictSame(lines(), all)
  file.append('last\n')
  const [one, two] = [file.flush(), file.flush()]
  await one
  t.equal(lines().at(-1), 'last')
  await two
})

test('audit file: after a rename and reopen lines go to a new file, and none to both', async t => {
  const { file, path, write, lines } = await opened(t)
  await write('old')
  renameSync(path, `${path}.1`)
  file.reopen()
  await write('new')
  t.strictSame([readFileSync(`${path}.1`, 'utf8'), lines()], ['old\n', ['new']])
  t.equal(statSync(path).mode & 0o777, 0o600)
})

test('audit file: a rename is noticed without being told', async t => {
  const { path, write, lines } = await opened(t)
  renameSync(path, `${path}.1`)
  writeFileSync(path, '')
  for (let written = 0; lines().length === 0; written++) await write(`${written}`)
  const all = `${readFileSync(`${path}.1`, 'utf8')}${readFileSync(path, 'utf8')}`.split('\n').slice(0, -1)
  t.strictSame(
    all,
    all.map((_, index) => `${index}`)
  )
})

test('audit file: one that cannot be made anew takes no lines until it can', async t => {
  const place = join(folder(t), 'logs')
  mkdirSync(place)
  const { file, write, faults, recoveries, lines } = await opened(t, join(place, 'audit.log'))
  rmSync(place, { recursive: true })
  file.reopen()
  await t.rejects(write('held'), { code: 'ENOENT' })
  file.reopen()
  await t.rejects(write('held too'), { code: 'ENOENT' })
  t.match(file.fault, { code: 'ENOENT' })
  t.equal(faults.length, 1)
  mkdirSync(place)
  file.reopen()
  await write('after')
  t.strictSame(lines(), ['held', 'held too', 'after'])
  t.strictSame([file.fault, recoveries], [undefined, [0]])
})

for (const [what, make] of [
  ['a directory', (path: string) => mkdirSync(path)],
  ['a pipe', (path: string) => execFileSync('mkfifo', [path])]
] as const) {
  test(`audit file: ${what} is refused at once`, async t => {
    const path = join(folder(t), 'audit.log')
    make(path)
    await t.rejects(AuditFile.open(path, { onFault: () => {}, onRecovery: () => {} }))
  })
}

test('audit file: on a full disk lines are held, and written whole when there is room', { skip: cannotMount }, async t => {
  const disk = new SmallDisk(t)
  const { write, file, faults, recoveries, lines } = await opened(t, join(disk.path, 'audit.log'))
  await write('before')
  await disk.fill()
  const long = 'x'.repeat(10_000)
  await t.rejects(Promise.all([write(`1 ${long}`), write(`2 ${long}`)]), { code: 'ENOSPC' })
  await t.rejects(write(`3 ${long}`), { code: 'ENOSPC' })
  t.equal(faults.length, 1)
  await disk.clear()
  await write('after')
  t.equal(file.fault, undefined)
  t.strictSame(recoveries, [0])
  // A line that was begun on the full disk is there a second time, whole.
  const whole = ['before', `1 ${long}`, `2 ${long}`, `3 ${long}`, 'after']
  t.strictSame(
    lines().filter(each => whole.includes(each)),
    whole
  )
  for (const line of lines()) t.ok(whole.some(each => each.startsWith(line)))
})

test('audit file: what has no room in memory is counted, and the number is told when lines are taken again', {
  skip: cannotMount
}, async t => {
  const disk = new SmallDisk(t)
  const { write, file, recoveries, lines } = await opened(t, join(disk.path, 'audit.log'))
  await disk.fill()
  const line = 'x'.repeat(100_000)
  for (let count = 0; count < 20; count++) file.append(`${line}\n`)
  await t.rejects(file.flush(), { code: 'ENOSPC' })
  await disk.clear()
  await write('after')
  t.strictSame(recoveries, [10])
  t.equal(lines().filter(each => each === line).length, 10)
})

test('audit file: lines of another process are not overwritten', async t => {
  const { path, write, lines } = await opened(t)
  await write('one')
  appendFileSync(path, 'of another\n')
  await write('two')
  t.strictSame(lines(), ['one', 'of another', 'two'])
})
