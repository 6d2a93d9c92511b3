// The report: a captive portal, a proxy with a login page or a broken load balancer stands before the registry and answers with HTML, 400, 405 or
// a redirect that leads nowhere. Clients got a 502, although the tag that they asked for was cached. Only a clear "no" (404, 401, 403) is
// one; after anything else the cached tag is served with a warning.
import { type Test, test } from 'tap'
import { ProxyManifests } from '../../../src/backend/proxy-manifests.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { parseReference } from '../../../src/oci/name.ts'
import { named } from '../../support/content.ts'
import { type StatusFault, startUpstream } from '../../support/upstream.ts'
import { type Scene, scene } from './scene.ts'

const name = named('here/app')
const v1 = parseReference('v1')
const page = '<!DOCTYPE html><html><title>Sign in</title></html>'
const html = { 'content-type': 'text/html; charset=utf-8' }

/** A cache that has v1 and has to ask upstream for it. */
async function expired(
  t: Test,
  onUpstreamNotFound: 'serve' | 'forget' = 'serve'
): Promise<Scene & { manifests: ProxyManifests; digest: string }> {
  const made = await scene(t)
  const policy = { tagTTL: 60_000, onUpstreamNotFound, negativeTTL: 0 }
  const manifests = new ProxyManifests(made.content, made.route, policy, { now: () => made.clock.at, timeoutMs: 5_000 })
  const { digest } = made.server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  made.clock.at += 100_000
  return { ...made, manifests, digest }
}

const noAnswers: Record<string, StatusFault> = {
  'a login page': { status: 200, headers: html, body: page },
  'an empty 200': { status: 200 },
  'a 204': { status: 204 },
  'a 400': { status: 400, headers: html, body: page },
  'a 405': { status: 405 },
  'a 407': { status: 407, headers: html, body: page },
  'a 416': { status: 416 },
  'a 418': { status: 418 },
  'a 511': { status: 511, headers: html, body: page },
  'a 302 without a Location': { status: 302 },
  'a 302 to no URL': { status: 302, headers: { location: 'http://' } },
  'a 302 to a private host': { status: 302, headers: { location: 'http://10.0.0.1/login' } },
  'a 302 to a file': { status: 302, headers: { location: 'file:///etc/passwd' } }
}

for (const [what, fault] of Object.entries(noAnswers)) {
  test(`a cached tag is served with a warning after ${what}`, async t => {
    const { server, manifests, digest, content } = await expired(t, 'forget')
    server.faults.statuses = [fault]
    const served = await manifests.get(name, v1)
    t.match(served, { outcome: 'stale', warning: /^stale: /, value: { descriptor: { digest } } })
    t.equal(await content.tags.resolve(name, v1.tag as never), digest, 'and stays')
  })
}

for (const status of [200, 401, 403, 404]) {
  test(`a cached tag is served, and kept, after a redirect to a login page that answers ${status}`, async t => {
    const { server, manifests, digest, content } = await expired(t, 'forget')
    const portal = await startUpstream(t)
    portal.faults.statuses = [{ status, headers: html, body: page }]
    server.faults.statuses = [{ status: 302, headers: { location: `${portal.url}/login` } }]
    t.match(await manifests.get(name, v1), { outcome: 'stale', value: { descriptor: { digest } } })
    t.equal(await content.tags.resolve(name, v1.tag as never), digest)
  })
}

test('a tag that moved to another registry is not found there by its own error alone', async t => {
  const { server, manifests, content } = await expired(t, 'forget')
  const moved = await startUpstream(t)
  server.faults.statuses = [{ status: 307, headers: { location: `${moved.url}/v2/there/app/manifests/v1` } }]
  await t.rejects(manifests.get(name, v1), { code: 'MANIFEST_UNKNOWN' })
  t.equal(await content.tags.resolve(name, v1.tag as never), undefined)
})

for (const status of [401, 403]) {
  test(`a clear ${status} is passed on, cached or not`, async t => {
    const { server, manifests } = await expired(t)
    server.faults.statuses = [{ status }]
    await t.rejects(manifests.get(name, v1), OciError)
  })
}
