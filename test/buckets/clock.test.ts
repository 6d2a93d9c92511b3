import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { ask, bytesOf, dataPath, digestOf, folder } from '../src/support.ts'
import { program } from '../support/program.ts'
import { proxyS3 } from '../support/s3-proxy.ts'
import { makeBucket, s3Settings, startS3 } from '../support/s3-server.ts'

const clock = join(import.meta.dirname, '../support/clock-ahead.ts')
const mebibyte = 1024 * 1024
// The default of gc.grace.
const graceSeconds = 3_600

/** Starts a registry in a process whose clock is ahead by so many ms; resolves to its address. */
async function serveAhead(t: Test, aheadMs: number, s3: Record<string, unknown>): Promise<string> {
  const file = join(folder(t), 'registry.yaml')
  writeFileSync(file, stringify({ server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }, storage: { s3 } }))
  const child = spawn(process.execPath, ['--import', clock, ...program, 'serve', '--config', file], {
    env: { CLOCK_AHEAD: String(aheadMs) },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'close')
  })
  for await (const line of createInterface(child.stdout)) {
    const { msg, listen, time } = JSON.parse(line)
    if (msg !== 'the registry is ready') continue
    t.ok(Math.abs(Number(new Date(time)) - Date.now() - aheadMs) < 600_000, 'its clock differs')
    return listen
  }
  throw new Error('the registry ended')
}

test('a registry whose clock is off by an hour', async t => {
  const server = await startS3(t)
  if (!server) return
  for (const [what, ahead] of Object.entries({ ahead: 3_600_000, behind: -3_600_000 }))
    await t.test(`S3: one that is ${what} pushes, pulls, redirects and deletes from its first request on`, async t => {
      const [proxy, bucket] = [await proxyS3(t, server), makeBucket(server)]
      const s3 = { ...s3Settings(proxy, bucket, join(folder(t), 'spool')), redirect: { over: '8MiB' } }
      const listen = await serveAhead(t, ahead, s3)
      for (const bytes of [bytesOf(100), bytesOf(9 * mebibyte)]) {
        const digest = digestOf(bytes)
        t.equal((await ask(listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes })).status, 201)
        const data = dataPath(join(server.root, bucket), digest)
        // A quarter of the grace period has passed by the service's clock, and perhaps not by that of the registry.
        const old = Date.now() / 1000 - graceSeconds / 4 - 1_800
        utimesSync(data, old, old)
        t.equal((await ask(listen, 'HEAD', `/v2/a/blobs/${digest}`)).status, 200)
        t.ok(Date.now() - statSync(data).mtimeMs < 600_000, 'its time was renewed')
        const { status, headers, body } = await ask(listen, 'GET', `/v2/a/blobs/${digest}`)
        t.equal(status, bytes.length > 8 * mebibyte ? 307 : 200)
        const got = headers.location === undefined ? body : Buffer.from(await (await fetch(headers.location)).arrayBuffer())
        t.ok(got.equals(bytes))
        t.equal((await ask(listen, 'DELETE', `/v2/a/blobs/${digest}`)).status, 202)
      }
      const seen = proxy.requests.length
      t.equal((await ask(listen, 'GET', `/v2/a/manifests/v1`)).status, 404)
      t.equal(new Set(proxy.requests.slice(seen)).size, proxy.requests.length - seen, 'an absent object is requested once')
    })
})
