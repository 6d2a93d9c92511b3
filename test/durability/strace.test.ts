import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { isPresent } from '../e2e/tool.ts'
import { repeat, seed } from '../long/scale.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import type { Acknowledged } from './promise.ts'
import { findAnswers, findFaults } from './promise.ts'
import { pushEverything } from './pushes.ts'
import type { Call } from './trace.ts'
import { parseTrace, straceCommand } from './trace.ts'

interface Recording {
  calls: Call[]
  acknowledged: Acknowledged[]
  root: string
}

async function record(t: Test): Promise<Recording> {
  const folder = await temporaryFolder(t)
  const output = join(folder, 'trace')
  // Calls that go through io_uring are not seen by strace.
  const server = await startServer(t, { folder, through: straceCommand(output), env: { UV_USE_IO_URING: '0' } })
  const acknowledged = await pushEverything(server.address, seed)
  await server.stop()
  return { calls: parseTrace(await readFile(output, 'utf8')), acknowledged, root: server.root }
}

// The check itself is tried on traces that were tampered with: it has to notice each.
function tampered({ calls, acknowledged, root }: Recording): Record<string, Call[]> {
  const [first] = acknowledged
  const [data = '', link = ''] = first?.keys.map(key => join(root, key)) ?? []
  const rename = calls.find(call => call.to === data)
  const [answer] = findAnswers(calls)
  const without = (drop: (call: Call) => boolean) => calls.filter(call => !drop(call))
  const moved = (target: Call | undefined, by: number) =>
    calls.map(call => (call === target ? { ...call, began: call.began + by, ended: call.ended + by } : call))
  return {
    'no fsync of the bytes': without(({ name, path }) => name === 'fdatasync' && path === rename?.path),
    'no rename': without(call => call === rename),
    'no fsync of the directory of the bytes': without(({ name, path }) => name === 'fsync' && path === join(data, '..')),
    'no fsync of the directory of a link': without(({ name, path }) => name === 'fsync' && path === join(link, '..')),
    'no fsync of the parent of a new directory': without(({ name, path }) => name === 'fsync' && path === join(data, '../../..')),
    'no fsync of the root': without(({ name, path }) => name === 'fsync' && path === root),
    'a rename before the fsync': moved(rename, -(rename?.began ?? 0)),
    'an answer before everything': moved(answer, -(answer?.began ?? 0)),
    'an unexpected response': answer ? [...calls, answer] : []
  }
}

test(`durability: what is answered with 201 is on the disk (${repeat})`, async t => {
  if (!isPresent('strace')) return void t.pass('strace', { skip: 'strace is not on the PATH' })
  const recording = await record(t)
  const { calls, root, acknowledged } = recording
  t.test('every 201 comes after fsync of the bytes, the rename, and fsync of each directory that was new', async t => {
    for (const each of acknowledged) t.comment(each.what)
    t.ok(acknowledged.length > 0, 'something was pushed')
    t.same(findFaults(calls, root, acknowledged), [])
  })
  for (const [what, doctored] of Object.entries(tampered(recording))) {
    t.test(`the check notices a trace with ${what}`, async t => {
      t.not(doctored.length, 0, 'there is a trace')
      t.not(findFaults(doctored, root, acknowledged).length, 0)
    })
  }
})
