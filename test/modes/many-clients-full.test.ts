import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { test } from 'tap'
import { startUpstream } from '../support/upstream.ts'
import { launch } from './program.ts'
import { behind, blobBehind, bytesSent, downloads } from './scene.ts'

const run = promisify(execFile)
const size = 200 * 2 ** 20
const full = process.env['REGISTRY_TEST_SCALE'] === 'full'
const skip = full ? false : 'only with REGISTRY_TEST_SCALE=full'

// The registry and each client are processes of their own: in one they would measure each other.
for (const rate of [50, 20]) {
  test(`Proxy: thirty clients of one uncached 200 MiB blob, upstream at ${rate} MiB/s`, { skip, timeout: 600_000 }, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.bytesPerSecond = rate * 2 ** 20
    const { digest, path } = blobBehind(upstream, size)
    const { listen } = await launch(t, behind('Proxy', upstream))
    const format = '%{http_code} %{size_download} %{time_starttransfer} %{time_total}'
    const client = () => run('curl', ['-sS', '-o', '/dev/null', '-w', format, `http://${listen}${path}`])
    const pulls = (await Promise.all(Array.from({ length: 30 }, client))).map(each => each.stdout.split(' ').map(Number))
    const [first, last] = [2, 3].map(index => Math.max(...pulls.map(each => each[index] ?? Number.NaN)))
    t.comment(`${downloads(upstream, digest).length} download, ${bytesSent(upstream, digest)} bytes from upstream`)
    t.comment(`first byte of the last client ${first} s, all done after ${last} s, upstream alone ${size / 2 ** 20 / rate} s`)
    t.strictSame(
      pulls.map(([status, bytes]) => [status, bytes]),
      Array(30).fill([200, size])
    )
    t.equal(downloads(upstream, digest).length, 1)
    t.equal(bytesSent(upstream, digest), size)
  })
}
