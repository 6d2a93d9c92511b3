import { existsSync } from 'node:fs'
import { rename, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'tap'
import { callControl } from '../../../src/ports/control-client.ts'
import { folder, serve } from '../support.ts'

test('control: a socket in the root, which only its owner can open', async t => {
  const { config } = await serve(t)
  t.match(config.server.control, /\/\.registry\/control\.sock$/)
  const found = await stat(config.server.control)
  t.ok(found.isSocket())
  t.equal(found.mode & 0o777, 0o600)
})

test('control: status is what the admin port tells', async t => {
  const { config, listen } = await serve(t)
  t.match(await callControl(config.server.control, 'GET', '/status'), { mode: 'Local', listen })
})

test('control: the log level changes while the registry runs', async t => {
  const { config } = await serve(t)
  const path = config.server.control
  t.strictSame(await callControl(path, 'PUT', '/log/level', { level: 'debug' }), { level: 'debug' })
  t.match(await callControl(path, 'GET', '/status'), { log: { level: 'debug' } })
})

for (const body of [{ level: 'loud' }, {}, { level: 5 }, []]) {
  test(`control: a level that the log does not know is refused: ${JSON.stringify(body)}`, async t => {
    const { config } = await serve(t)
    await t.rejects(callControl(config.server.control, 'PUT', '/log/level', body), /level|object/)
    t.match(await callControl(config.server.control, 'GET', '/status'), { log: { level: 'info' } })
  })
}

for (const [path, body, about] of [
  ['/why', { reference: 'r'.repeat(1025), depth: 'size' }, /reference/],
  ['/why', { reference: 5, depth: 'size' }, /reference/],
  ['/why', { reference: 'r', depth: 'deep' }, /depth/],
  ['/verify', { references: 'r', depth: 'size' }, /references/],
  ['/verify', { references: ['r', 5], depth: 'size' }, /references/],
  ['/verify', { references: ['r'] }, /depth/]
] as const) {
  test(`control: ${path} refuses what it cannot use: ${JSON.stringify(body).slice(0, 60)}`, async t => {
    const { config } = await serve(t)
    await t.rejects(callControl(config.server.control, 'POST', path, body), { message: about })
  })
}

test('control: silent is a level', async t => {
  const { config } = await serve(t)
  await callControl(config.server.control, 'PUT', '/log/level', { level: 'silent' })
  t.match(await callControl(config.server.control, 'GET', '/status'), { log: { level: 'silent' } })
})

test('control: where nobody listens, the error says so', async t => {
  const path = join(folder(t), 'none.sock')
  await t.rejects(callControl(path, 'GET', '/status'), { message: `no registry is running behind ${path}` })
})

test('control: the socket is gone after a stop', async t => {
  const served = await serve(t)
  await served.stop()
  t.notOk(existsSync(served.config.server.control))
})

test('control: a socket that a dead process left is taken over', async t => {
  const path = join(folder(t), 'c.sock')
  // A socket that is renamed while its server lives stays behind when it goes.
  const dead = createServer()
  await new Promise<void>(resolve => dead.listen(`${path}.old`, resolve))
  await rename(`${path}.old`, path)
  await new Promise(resolve => dead.close(resolve))
  t.ok(existsSync(path))
  await serve(t, { server: { control: path } })
  t.match(await callControl(path, 'GET', '/status'), { mode: 'Local' })
})

test('control: a file in the place of the socket is not removed, and the registry serves without commands', async t => {
  const path = join(folder(t), 'precious')
  await writeFile(path, 'precious')
  const served = await serve(t, { server: { control: path } })
  t.equal(served.logged('the control socket cannot be opened: commands will not reach this process').length, 1)
  t.ok((await stat(path)).isFile())
})
