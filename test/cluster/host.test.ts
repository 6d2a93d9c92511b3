// What the other tests of this folder rely on: that a cable that is pulled cuts off, that power that is cut kills, that the
// disk of a host stays and that nothing of it is seen on this machine.
import { access } from 'node:fs/promises'
import { test } from 'tap'
import { ask } from '../e2e/request.ts'
import { until } from '../src/support.ts'
import { Host } from './host.ts'

const file = '/etc/registry-test'
const server = `import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
createServer((_, response) => response.end(readFileSync('${file}'))).listen(8080)`

test('hosts: they are cut off, killed and booted again, each with its own disk', async t => {
  const hosts = await Promise.all(['one', 'two'].map((name, at) => Host.start(t, { name, number: 11 + at })))
  for (const host of hosts) {
    await host.write(file, host.name)
    await host.start('server', process.execPath, ['--input-type=module', '--eval', server])
  }
  const [one, two] = hosts as [Host, Host]
  const said = async ({ address }: Host) => (await ask({ address: `${address}:8080` }, { path: '/' })).body.toString()
  const asked = (from: Host, of: Host) => from.run('curl', ['-sf', '--max-time', '2', `http://${of.address}:8080/`])
  await until(() => said(one).catch(() => undefined))
  await until(() => said(two).catch(() => undefined))
  t.equal(await said(one), 'one')
  t.equal(await asked(one, two), 'two', 'hosts reach each other')
  await t.rejects(access(file), 'what a host writes is not on this machine')

  await two.cutOff()
  await t.rejects(asked(one, two), 'a cable that is pulled')
  t.equal(await asked(two, two), 'two', 'cuts off nothing else')
  await two.reconnect()
  t.equal(await asked(one, two), 'two')

  await two.powerOff()
  await t.rejects(asked(one, two), 'a host without power')
  t.throws(() => two.path(file), 'has no files')
  await two.powerOn()
  t.equal(await two.run('cat', [file]), 'two', 'its disk is what it was')
  await t.rejects(asked(one, two), 'its processes are gone')
  t.equal((await two.run('hostname', [])).trim(), 'two')
})
