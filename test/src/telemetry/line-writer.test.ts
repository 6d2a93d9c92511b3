// The fault: while standard output or the audit file took nothing for a moment, and what waited had reached its limit, the
// audit line of a push was dropped, and the push was answered as if it had been written.
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Test, test } from 'tap'
import { Audit, AuditUnavailable } from '../../../src/telemetry/audit.ts'
import { LineWriter } from '../../../src/telemetry/line-writer.ts'
import { folder } from '../support.ts'

/** A pipe that is full, and a writer of lines to it. */
function fullPipe(t: Test, limits: { maxHeldChars: number; reservedChars: number }) {
  const path = join(folder(t), 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  t.teardown(() => closeSync(fd))
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096, '.'))
  } catch {
    // It takes no more.
  }
  const writer = new LineWriter(fd, { gatherChars: 100_000, gatherMs: 60_000, ...limits, lostLine: lines => `${lines} lost\n` })
  const read = () => {
    const into = Buffer.alloc(1024 * 1024)
    return into.toString('latin1', 0, readSync(fd, into)).replaceAll('.', '')
  }
  return { writer, read }
}

const line = (letter: string, length: number) => `${letter.repeat(length - 1)}\n`

test('lines: beyond the limit they are lost and counted, but those that an answer waits for have room of their own', async t => {
  const { writer, read } = fullPipe(t, { maxHeldChars: 1_000, reservedChars: 500 })
  t.equal(writer.write(line('a', 900)), true)
  t.equal(writer.write(line('b', 200)), false)
  t.equal(writer.write(line('c', 300), { essential: true }), true)
  t.equal(writer.write(line('d', 400), { essential: true }), false)
  const flushed = writer.flush()
  t.equal(read(), '')
  await flushed
  t.equal(read(), `${line('a', 900)}${line('c', 300)}2 lost\n`)
})

test('audit on standard output: a change whose line had no room is not answered as written, also when a reader comes back', async t => {
  const { writer, read } = fullPipe(t, { maxHeldChars: 1_000, reservedChars: 100 })
  const log = pino({}, writer)
  const audit = await Audit.open('stdout', { log, onLost: () => {} })
  writer.write(line('a', 1_000))
  const changed = audit.recordChanges([{ action: 'push', actor: 'rw', name: 'x'.repeat(200) }])
  read()
  await t.rejects(changed, AuditUnavailable)
  await audit.recordChanges([{ action: 'push', actor: 'rw' }])
  t.match(read(), /"action":"push","actor":"rw"/)
})

test('audit file: changes whose lines had no room are not answered as written, and the next ones are', async t => {
  const path = join(folder(t), 'audit.log')
  const log = pino({ level: 'silent' })
  const audit = await Audit.open(path, { log, onLost: () => {} })
  t.teardown(() => audit[Symbol.asyncDispose]())
  const large = Array.from({ length: 30 }, () => ({ action: 'push', actor: 'rw', name: 'x'.repeat(50_000) }))
  await t.rejects(audit.recordChanges(large), AuditUnavailable)
  await audit.recordChanges([{ action: 'tag', actor: 'rw' }])
  t.match(readFileSync(path, 'utf8'), /"action":"tag"/)
})
