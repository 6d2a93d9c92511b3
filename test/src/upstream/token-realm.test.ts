// The report: a registry moved its token service. The realm of its old challenge was remembered, every request failed at the dead token
// service before the registry was asked, and so its new challenge was never seen, until a restart.
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { clientOf, errorOf, never, ref, served } from './ask.ts'

for (const [failure, fail] of [
  ['is gone', { realm: 'stopped' }],
  ['answers 404', { tokenStatus: 404 }],
  ['answers 500', { tokenStatus: 500 }]
] as const) {
  test(`upstream realm: one that ${failure} is forgotten, and the upstream is asked for another`, async t => {
    let now = 1_000_000
    const server = await startUpstream(t, { auth: { scheme: 'Bearer', expiresIn: 60 } })
    const old = await startUpstream(t, { auth: { scheme: 'Bearer', expiresIn: 60 } })
    server.addImage('a', '1')
    const { upstream } = clientOf(t, [server], { tokenHosts: ['127.0.0.1'], hooks: { now: () => now } })
    const stat = () => upstream.statManifest('a', ref('1'), never())
    server.desk.auth = { scheme: 'Bearer', realm: `${old.url}/token`, expiresIn: 60 }
    old.desk.auth = { scheme: 'Bearer', tokenBody: '{"token":"of-the-old"}' }
    t.match(await errorOf(stat()), { kind: 'unauthorized' })
    if ('realm' in fail) await old.stop()
    else old.desk.auth = { scheme: 'Bearer', ...fail }
    now += 61_000
    server.desk.auth = { scheme: 'Bearer' }
    await stat().catch(() => {})
    t.match(await served(stat()), { size: Number })
  })
}
