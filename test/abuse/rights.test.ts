// The report: rights counted for everything, so that one password that was given to one team, or to one node for the
// platform's images, read every repository and every upstream. Whatever names a repository has to ask for the rights
// on it: its path, the source of a mount, the entries of the catalog and their cursors, and `ns=`.
import { type Test, test } from 'tap'
import { behind, prefix, serveModes } from '../modes/scene.ts'
import {
  type Answer,
  ask,
  basicOf,
  bytesOf,
  codeOf,
  digestOf,
  guarded,
  imageType,
  pushBlob,
  pushImage,
  type Served,
  serve
} from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'

const roles = {
  ro: [{ pull: 'system/deckhouse/**' }],
  ci: [{ pull: ['team/**', 'common'], push: ['team/*'], delete: 'team/own' }],
  rw: ['pull' as const, 'push' as const, 'delete' as const]
}

async function setUp(t: Test): Promise<Served> {
  return serve(t, { auth: guarded(t, roles) })
}

const as = (user: string) => ({ authorization: basicOf(user) })
const outcome = (answer: Answer) => (answer.status < 400 ? answer.status : `${answer.status} ${codeOf(answer)}`)

/** Pushes an image as the user `rw`. */
const pushed = (served: Served, name: string) => pushImage(served, name, 'v1', {}, as('rw'))

test('rights: a user may pull from the repositories of its patterns, and nothing of the others by any endpoint', async t => {
  const served = await setUp(t)
  for (const name of ['system/deckhouse', 'system/deckhouse/a', 'system/other', 'system/deckhouse-ce']) {
    const { digest, config } = await pushed(served, name)
    const paths = [`manifests/v1`, `manifests/${digest}`, `blobs/${config}`, 'tags/list', `referrers/${digest}`, '_oci/ext/discover']
    const expected = /^system\/deckhouse(\/|$)/.test(name) ? 200 : 403
    for (const path of paths) {
      const { status } = await ask(served.listen, 'GET', `/v2/${name}/${path}`, { headers: as('ro') })
      t.equal(status, expected, `${name}/${path}`)
    }
    t.equal((await ask(served.listen, 'HEAD', `/v2/${name}/manifests/v1`, { headers: as('ro') })).status, expected)
    t.equal((await ask(served.listen, 'HEAD', `/v2/${name}/blobs/${config}`, { headers: as('ro') })).status, expected)
  }
})

test('rights: what is refused is DENIED for a user and UNAUTHORIZED without one, whether it exists or not', async t => {
  const served = await setUp(t)
  await pushed(served, 'system/other')
  for (const name of ['system/other', 'none']) {
    const path = `/v2/${name}/manifests/v1`
    t.equal(outcome(await ask(served.listen, 'GET', path, { headers: as('ro') })), '403 DENIED')
    t.equal(outcome(await ask(served.listen, 'GET', path)), '401 UNAUTHORIZED')
  }
})

test('rights: pushes, upload sessions and deletions count for their own repositories', async t => {
  const served = await setUp(t)
  const headers = as('ci')
  const bytes = bytesOf(20)
  const post = async (name: string) =>
    outcome(await ask(served.listen, 'POST', `/v2/${name}/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes, headers }))
  t.strictSame([await post('team/own'), await post('team/a')], [201, 201])
  t.strictSame([await post('team'), await post('team/a/b'), await post('common')], Array(3).fill('403 DENIED'))
  const session = await ask(served.listen, 'POST', '/v2/common/blobs/uploads/', { headers: as('rw') })
  const { location = '' } = session.headers
  for (const [method, path] of [
    ['GET', location],
    ['PATCH', location],
    ['PUT', `${location}?digest=${digestOf(bytes)}`],
    ['DELETE', location]
  ]) {
    t.equal(outcome(await ask(served.listen, method ?? '', path ?? '', { body: bytes, headers })), '403 DENIED', `${method}`)
  }
  const put = { body: '{}', headers: { ...headers, 'content-type': imageType } }
  t.equal(outcome(await ask(served.listen, 'PUT', '/v2/common/manifests/v1', put)), '403 DENIED')
  for (const [name, expected] of [
    ['team/own', 202],
    ['team/a', '403 DENIED']
  ] as const) {
    const { digest } = await pushed(served, name)
    t.equal(outcome(await ask(served.listen, 'DELETE', `/v2/${name}/manifests/${digest}`, { headers })), expected)
  }
})

test('rights: a mount from a repository that may not be pulled from, or from any, is an ordinary push', async t => {
  const served = await setUp(t)
  const [secret, shared] = [await pushBlob(served, 'secret', bytesOf(9), as('rw')), await pushBlob(served, 'common', bytesOf(9), as('rw'))]
  const mount = (query: string, user = 'ci') => ask(served.listen, 'POST', `/v2/team/a/blobs/uploads/?${query}`, { headers: as(user) })
  t.equal((await mount(`mount=${shared}&from=common`)).status, 201)
  for (const query of [`mount=${secret}&from=secret`, `mount=${secret}`, `mount=${secret}&from=`, `mount=${secret}&from=team/a`]) {
    const { status, headers } = await mount(query)
    t.strictSame([status, /^\/v2\/team\/a\/blobs\/uploads\/[0-9a-f-]+$/.test(headers.location ?? '')], [202, true], query)
    t.equal((await ask(served.listen, 'GET', `/v2/team/a/blobs/${secret}`, { headers: as('ci') })).status, 404)
  }
  t.equal((await mount(`mount=${secret}`, 'rw')).status, 201)
})

test('rights: the catalog lists what may be pulled from, in whole pages, and no cursor names another repository', async t => {
  const served = await setUp(t)
  for (const name of ['a', 'common', 'secret', 'team', 'team/a', 'team/z', 'z']) await pushBlob(served, name, bytesOf(5), as('rw'))
  const list = async (path: string, user: string) => {
    const { headers, body } = await ask(served.listen, 'GET', path, { headers: as(user) })
    return { names: JSON.parse(body.toString()).repositories, next: /<([^>]+)>/.exec(headers.link?.toString() ?? '')?.[1] }
  }
  t.strictSame(await list('/v2/_catalog', 'ci'), { names: ['common', 'team', 'team/a', 'team/z'], next: undefined })
  t.strictSame(await list('/v2/_catalog', 'ro'), { names: [], next: undefined })
  t.strictSame(await list('/v2/_catalog?n=1', 'ro'), { names: [], next: undefined })
  t.strictSame(await list('/v2/_catalog?n=0', 'ci'), { names: [], next: undefined })
  t.equal((await list('/v2/_catalog', 'rw')).names.length, 7)
  const first = await list('/v2/_catalog?n=3', 'ci')
  t.strictSame(first, { names: ['common', 'team', 'team/a'], next: '/v2/_catalog?n=3&last=team%2Fa' })
  t.strictSame(await list(first.next ?? '', 'ci'), { names: ['team/z'], next: undefined })
})

test('rights: a password for the own images does not read an upstream, one for an upstream reads that one alone', async t => {
  const [own, hub, quay] = [await startUpstream(t), await startUpstream(t), await startUpstream(t)]
  own.addImage(`${prefix.there}/app`, 'v1')
  for (const each of [hub, quay]) each.addImage('library/alpine', 'v1')
  const at = ({ url }: { url: string }) => ({ scheme: 'HTTP', endpoints: [new URL(url).host] })
  const served = await serveModes(t, {
    registry: { ...behind('Proxy', own), upstreams: { 'hub.test': at(hub), 'quay.test:5000': at(quay) } },
    auth: {
      anonymous: [],
      ...guarded(t, { ro: [{ pull: ['**', 'library/**', '*/library/**'] }], dev: [{ pull: 'quay.test:5000/library/**' }], all: ['pull'] })
    }
  })
  const get = async (path: string, user: string) => outcome(await ask(served.listen, 'GET', path, { headers: as(user) }))
  const app = `/v2/${prefix.here}/app/manifests/v1`
  const alpine = '/v2/library/alpine/manifests/v1?ns='
  t.strictSame([await get(app, 'ro'), await get(`${app}?ns=REGISTRY.test:5001`, 'ro'), await get(app, 'dev')], [200, 200, '403 DENIED'])
  t.strictSame([await get(`${alpine}hub.test`, 'ro'), await get(`${alpine}quay.test:5000`, 'ro')], ['403 DENIED', '403 DENIED'])
  t.strictSame([await get(`${alpine}hub.test`, 'dev'), await get(`${alpine}QUAY.test:5000`, 'dev')], ['403 DENIED', 200])
  for (const ns of ['hub.test', 'quay.test:5000']) t.equal(await get(`${alpine}${ns}`, 'all'), 200)
  // Whether a registry is served is for those to know who may pull from it.
  t.strictSame([await get(`${alpine}none.test`, 'dev'), await get(`${alpine}none.test`, 'all')], ['403 DENIED', '404 NAME_UNKNOWN'])
  t.strictSame([await get('/v2/_catalog?ns=hub.test', 'dev'), await get('/v2/_catalog?ns=quay.test:5000', 'dev')], ['403 DENIED', 200])
  const names = async (path: string, user: string) =>
    JSON.parse((await ask(served.listen, 'GET', path, { headers: as(user) })).body.toString()).repositories
  t.strictSame(await names('/v2/_catalog?ns=quay.test:5000', 'dev'), ['library/alpine'])
  t.strictSame(await names('/v2/_catalog', 'dev'), [])
})

test('rights: what is granted without credentials counts for its repositories, and for users as well', async t => {
  const served = await serve(t, { auth: { ...guarded(t, { ...roles, none: [] }), anonymous: [{ pull: 'public/**' }] } })
  for (const name of ['public/a', 'system/deckhouse', 'z']) await pushed(served, name)
  const get = async (name: string, headers: Record<string, string> = {}) =>
    outcome(await ask(served.listen, 'GET', `/v2/${name}/manifests/v1`, { headers }))
  t.strictSame([await get('public/a'), await get('z')], [200, '401 UNAUTHORIZED'])
  t.strictSame([await get('public/a', as('none')), await get('z', as('none'))], [200, '403 DENIED'])
  t.strictSame([await get('public/a', as('ro')), await get('system/deckhouse', as('ro'))], [200, 200])
  t.equal((await ask(served.listen, 'GET', '/v2/_catalog')).body.toString(), '{"repositories":["public/a"]}')
})
