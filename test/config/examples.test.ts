import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { loadConfig } from '../../config/load.ts'

const examples = join(import.meta.dirname, '../../config/examples')
const load = (name: string) => loadConfig({ file: join(examples, name), env: {} })

test('every example loads and names its schema for editors', async t => {
  const names = readdirSync(examples)
  t.ok(names.length >= 2)
  for (const name of names) {
    t.doesNotThrow(() => load(name), name)
    t.ok(readFileSync(join(examples, name), 'utf8').startsWith('# yaml-language-server: $schema=../registry.schema.json\n'), name)
  }
})

test('the quickstart example is open, on loopback, with its content in the folder of the project', async t => {
  const { server, storage, auth } = load('quickstart.yaml')
  t.same(server.listen, { host: '127.0.0.1', port: 5001 })
  t.same(auth, { anonymous: ['pull', 'push', 'delete'] })
  t.equal(storage.filesystem.root, join(examples, '../../data'))
})

test('what the local example calls a default is the default', async t => {
  const config = load('local.yaml')
  const defaults = loadConfig({ env: {} })
  t.same(config.limits, defaults.limits)
  t.same(config.storage, defaults.storage)
  t.same([config.registry, config.log], [defaults.registry, defaults.log])
  const { listen: _listen, tls: _tls, forwarders: _forwarders, ...server } = config.server
  t.match(defaults.server, server)
})

test('the local example serves TLS to users with roles and nothing to anonymous', async t => {
  const { server, auth } = load('local.yaml')
  t.ok(server.tls?.clientCA)
  t.same(auth.users?.roles['ro'], ['pull'])
  t.same(auth.anonymous, [])
})
