// The report: what reads the log (a container runtime, a log shipper) stalls. Its pipe is full after some lines, and the
// next push, or the next warning, then waited for it with the whole event loop: no pull was answered until it went on.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { ask, bytesOf, codeOf, digestOf, folder, unbounded } from '../src/support.ts'
import { program } from '../support/program.ts'

type Line = Record<string, unknown>

/** A registry whose log is read, or not. */
async function serveWithReader(t: Test) {
  const place = folder(t)
  const file = join(place, 'registry.yaml')
  const storage = { ...unbounded, filesystem: { root: join(place, 'root') } }
  writeFileSync(file, stringify({ server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }, storage, log: { level: 'info' } }))
  const env = { PATH: process.env['PATH'], HOME: '/' }
  const child = spawn(process.execPath, [...program, 'serve', '--config', file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout.on('data', chunk => {
    text += chunk
  })
  const lines = (): Line[] =>
    text
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line))
  const line = async (found: (line: Line) => boolean): Promise<Line> => {
    for (;;) {
      const first = lines().find(found)
      if (first) return first
      await once(child.stdout, 'data')
    }
  }
  const { listen } = await line(({ msg }) => msg === 'the registry is ready')
  return { child, lines, line, listen: String(listen), read: (on: boolean) => void (on ? child.stdout.resume() : child.stdout.pause()) }
}

const blob = bytesOf(100)
const push = (listen: string) =>
  ask(listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf(blob)}`, {
    body: blob,
    headers: { 'content-type': 'application/octet-stream' }
  })
// Each leaves a line of some 500 bytes.
const pull = (listen: string) => ask(listen, 'GET', '/v2/a/tags/list', { headers: { 'user-agent': 'x'.repeat(250) } })

test('a log whose reader stalls: pulls go on, a push is refused with a reason, and both are as before when it reads again', async t => {
  const { child, lines, line, listen, read } = await serveWithReader(t)
  t.equal((await push(listen)).status, 201)
  read(false)
  // More than the buffers of a pipe and of its reader, and than what the log holds.
  for (let count = 0; count < 4_000; count += 20) await Promise.all(Array.from({ length: 20 }, () => pull(listen)))
  t.equal((await pull(listen)).status, 200)
  const refused = await push(listen)
  t.equal(refused.status, 503)
  t.equal(codeOf(refused), 'UNAVAILABLE')
  t.equal((await pull(listen)).status, 200, 'a pull is answered while no line is taken')
  read(true)
  t.match(await line(({ msg }) => /some are lost/.test(`${msg}`)), { level: 'warn', lines: Number })
  for (;;) if ((await push(listen)).status === 201) break
  child.kill('SIGTERM')
  const [code] = await once(child, 'close')
  t.equal(code, 0)
  t.equal(lines().at(-1)?.['msg'], 'the registry has stopped', 'the last line is written')
})

test('a log whose reader stalls for good: the process ends on SIGTERM all the same', async t => {
  const { child, listen, read } = await serveWithReader(t)
  read(false)
  for (let count = 0; count < 1_000; count += 20) await Promise.all(Array.from({ length: 20 }, () => pull(listen)))
  child.kill('SIGTERM')
  const [code, signal] = await once(child, 'exit')
  t.not(code ?? signal, null)
})
