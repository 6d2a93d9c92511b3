// The report: a disk that hangs gives no error, so that a request which waits for its audit line would wait for ever.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { ask, basicOf, bytesOf, digestOf, guarded, pushBlob, reasonOf, until } from '../src/support.ts'
import { mountFreezable } from '../support/place.ts'
import { launch } from './program.ts'
import { serveModes } from './scene.ts'

test('an audit file on a disk that is frozen: pulls go on, pushes are told so, and later its lines are there', async t => {
  const disk = await mountFreezable(t)
  if (typeof disk === 'string') return void t.pass('ext4', { skip: disk })
  const audit = join(disk.directory, 'audit.log')
  const auth = guarded(t, { ro: ['pull'], rw: ['pull', 'push', 'delete'] })
  const served = await serveModes(t, { registry: { mode: 'Local' }, auth, log: { audit } })
  const bytes = bytesOf(1_000)
  const headers = { authorization: basicOf('rw') }
  const digest = await pushBlob(served, 'a', bytes, headers)
  const push = () => ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x', headers })
  disk.freeze()
  const [first, pulled] = await Promise.all([
    push(),
    ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, { headers: { authorization: basicOf('ro') } })
  ])
  t.strictSame([first.status, reasonOf(first)], [503, 'the change was made, and the audit log could not be written'])
  t.ok(pulled.body.equals(bytes))
  t.strictSame([(await push()).status, (await ask(served.admin, 'GET', '/readyz/write')).status], [503, 503])
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, { headers })).status, 200)
  disk.thaw()
  await until(async () => (await push()).status === 201)
  const lines = readFileSync(audit, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line))
  t.strictSame(
    lines.filter(each => each.action === 'push').map(each => each.new),
    [digest, digestOf('x'), digestOf('x')]
  )
  t.ok(lines.some(each => each.action === 'login' && each.actor === 'ro'))
})

test('the program: the audit stream is on standard output at any log level, and its last line is that it has stopped', async t => {
  const program = await launch(t, { mode: 'Local' })
  t.equal((await ask(program.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })).status, 201)
  t.match(program.logged('content changed'), { audit: true, action: 'push', actor: 'anonymous', new: digestOf('x') })
  program.child.kill('SIGTERM')
  await program.ended
  t.match(program.logged('audit'), { action: 'start' })
})
