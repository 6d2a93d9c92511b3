import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { ask, bytesOf, digestOf, filesBelow, folder, imageOf, imageType, pushBlob, putManifest, serve, unbounded } from '../src/support.ts'
import { program } from '../support/program.ts'
import { proxyS3 } from '../support/s3-proxy.ts'
import { makeBucket, s3Settings, startS3 } from '../support/s3-server.ts'

const hour = 3_600_000

/** The command on its way, until the test ends. */
function begin(t: Test, from: string, to: string) {
  const child = spawn(process.execPath, [...program, 'copy-storage', '--from', from, '--to', to], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { child, ended: ended.then(([out, err, [code]]) => ({ code, out, err })) }
}

const isContent = (path: string) => path.startsWith('docker/') && !path.includes('/_uploads/')

test('copy-storage: one that is killed in the middle leaves nothing that is not whole, and the next one goes on when its turn has ended', async t => {
  const server = await startS3(t)
  if (!server) return
  const place = folder(t)
  const root = join(place, 'root')
  const written = (name: string, storage: object) => {
    writeFileSync(join(place, name), stringify({ storage: { ...unbounded, ...storage } }))
    return join(place, name)
  }
  const registry = await serve(t, { root })
  const blobs = [bytesOf(100), bytesOf(6 * 1024 * 1024), bytesOf(7 * 1024 * 1024)] as const
  for (const bytes of blobs) await pushBlob(registry, 'a', bytes)
  const manifest = imageOf([...blobs])
  await putManifest(registry, 'a', 'v1', manifest)
  await registry.stop()

  const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
  const [from, to] = [
    written('disk.yaml', { filesystem: { root } }),
    written('bucket.yaml', { s3: s3Settings(proxy, bucket, join(place, 'spool')) })
  ]
  const reached = Promise.withResolvers<void>()
  let completed = 0
  proxy.fate = (method, path) => {
    // That of the second blob.
    if (method !== 'POST' || !path.includes('uploadId=') || ++completed < 2) return 'pass'
    reached.resolve()
    return { after: new Promise(() => {}) }
  }
  const first = begin(t, from, to)
  t.equal(await Promise.race([reached.promise, first.ended]), undefined, 'it has not ended')
  first.child.kill('SIGKILL')
  await first.ended
  proxy.fate = () => 'pass'
  const there = (await filesBelow(join(server.root, bucket))).filter(isContent)
  t.ok(there.length >= 1 && there.length <= 3, 'it was in the middle of the blobs')
  t.ok(
    there.every(path => path.includes('/blobs/')),
    'of which nothing is said yet'
  )

  const soon = await begin(t, from, to).ended
  t.match(soon, { code: 1, err: /^another registry .* or a command on it was killed just now: run this again in a minute\n$/ })
  const past = (Date.now() - hour) / 1000
  utimesSync(join(server.root, bucket, '.registry/lease/removal'), past, past)

  const whole = (await filesBelow(root)).filter(isContent)
  const { code, out } = await begin(t, from, to).ended
  t.equal(code, 0)
  const done = JSON.parse(out.trimEnd().split('\n').at(-1) ?? '')
  t.match(done, { type: 'done', copied: whole.length - there.length, present: there.length, damaged: 0 })
  t.strictSame((await filesBelow(join(server.root, bucket))).filter(isContent), whole)
  t.strictSame(
    (await filesBelow(join(server.root, bucket))).filter(path => path.startsWith('.registry/tmp')),
    []
  )
  const served = await serve(t, { storage: { s3: s3Settings(server, bucket, join(place, 'spool')) } })
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1', { headers: { accept: imageType } })).body.toString(), manifest)
  for (const bytes of blobs) t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digestOf(bytes)}`)).body.equals(bytes))
})
