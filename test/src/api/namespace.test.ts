import { createServer } from 'node:net'
import { test } from 'tap'
import { ask, codeOf, pushImage, serve } from '../support.ts'

test('ns= with a name of this registry is this registry, and comes back in OCI-Namespace', async t => {
  const served = await serve(t)
  const { manifest } = await pushImage(served, 'a', 'v1')
  const { status, headers, body } = await ask(served.listen, 'GET', '/v2/a/manifests/v1?ns=registry.test:5001')
  t.equal(status, 200)
  t.equal(headers['oci-namespace'], 'registry.test:5001')
  t.equal(body.toString(), manifest)
})

test('without ns= there is no OCI-Namespace', async t => {
  const { listen } = await serve(t)
  t.notOk('oci-namespace' in (await ask(listen, 'GET', '/v2/')).headers)
})

for (const ns of ['docker.io', 'registry.test', 'registry.test:5001.', '..%2f..', 'a'.repeat(10_000)]) {
  test(`ns= with another name answers 404: ${ns.slice(0, 20)}`, async t => {
    const served = await serve(t)
    await pushImage(served, 'a', 'v1')
    const answer = await ask(served.listen, 'GET', `/v2/a/manifests/v1?ns=${ns}`)
    t.strictSame([answer.status, codeOf(answer)], [404, 'NAME_UNKNOWN'])
    t.notOk('oci-namespace' in answer.headers)
  })
}

// The report: U+212A (the Kelvin sign) becomes a plain k in lower case. A name with it was found, and the field that repeats it could not be
// sent: a 500.
for (const ns of ['%E2%84%AA8s.test:5001', 'registry.t%C3%A9st', 'a%20b', '%00', '%0d%0a']) {
  test(`ns= with what no host has answers 400: ${ns}`, async t => {
    const served = await serve(t, { server: { names: ['registry.test:5001', 'k8s.test:5001'] } })
    await pushImage(served, 'a', 'v1')
    const answer = await ask(served.listen, 'GET', `/v2/a/manifests/v1?ns=${ns}`)
    t.strictSame([answer.status, codeOf(answer)], [400, 'NAME_INVALID'])
    t.notOk('oci-namespace' in answer.headers)
  })
}

test('ns= is never dialled', async t => {
  let dialled = 0
  const stranger = createServer(socket => {
    dialled++
    socket.destroy()
  })
  await new Promise<void>(resolve => stranger.listen(0, '127.0.0.1', resolve))
  t.teardown(() => stranger.close())
  const { listen } = await serve(t)
  const { port } = stranger.address() as { port: number }
  t.equal((await ask(listen, 'GET', `/v2/a/manifests/v1?ns=127.0.0.1:${port}`)).status, 404)
  t.equal(dialled, 0)
})

test('ns= with another name takes no push', async t => {
  const { listen } = await serve(t)
  t.equal((await ask(listen, 'POST', '/v2/a/blobs/uploads/?ns=docker.io')).status, 404)
})
