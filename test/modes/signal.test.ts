import { test } from 'tap'
import { until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { launch } from './program.ts'
import { behind, blobBehind } from './scene.ts'

test('SIGHUP takes over a changed file at once while a transfer runs, and SIGTERM ends the process with 0', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 2 ** 20, until: held.promise }
  const { digest, path } = blobBehind(upstream, 2 ** 21)
  const { child, ended, write, logged, listen, admin } = await launch(t, behind('Proxy', upstream))
  const head = Promise.withResolvers<void>()
  const pulled = pull(listen, path, { onHead: head.resolve })
  await head.promise
  write({ mode: 'Local' })
  child.kill('SIGHUP')
  await until(() => logged('the changed configuration is in force'))
  t.match(await (await fetch(`http://${admin}/status`)).json(), { mode: 'Local', reload: { result: 'applied' } })
  held.resolve()
  t.equal((await pulled).digest, digest)
  child.kill('SIGTERM')
  t.strictSame(await ended, [0, null])
})
