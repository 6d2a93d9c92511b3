import { test } from 'tap'
import { LocalBackend } from '../../../src/backend/local.ts'
import { LocalSink } from '../../../src/backend/local-sink.ts'
import { BackendSwitch } from '../../../src/backend/switch.ts'
import { openFor } from '../../support/content.ts'

test('Switch: which backend answers for which ns', async t => {
  const { content } = await openFor(t)
  const [own, other] = [new LocalBackend(content, new LocalSink(content)), new LocalBackend(content, new LocalSink(content))]
  const modes = new BackendSwitch({ own, names: new Set(['registry.test:5001']), byHost: new Map([['quay.io', other]]) })
  t.equal(modes.backendFor(undefined), own)
  t.equal(modes.backendFor('registry.test:5001'), own)
  t.equal(modes.backendFor('Registry.Test:5001'), own)
  t.equal(modes.backendFor('quay.io'), other)
  t.equal(modes.backendFor('QUAY.io'), other)
  t.equal(modes.backendFor('registry.test'), undefined)
  t.equal(modes.backendFor('127.0.0.1:5001'), undefined)
  t.equal(modes.backendFor('constructor'), undefined)
})

test('Switch: a replacement is taken at once and as a whole', async t => {
  const { content } = await openFor(t)
  const [first, second] = [new LocalBackend(content, new LocalSink(content)), new LocalBackend(content, new LocalSink(content))]
  const modes = new BackendSwitch({ own: first, names: new Set(), byHost: new Map([['a', first]]) })
  modes.replace({ own: second, names: new Set(['me']), byHost: new Map() })
  t.strictSame([modes.backendFor(undefined) === second, modes.backendFor('me') === second, modes.backendFor('a')], [true, true, undefined])
})
