import { readFile } from 'node:fs/promises'
import type { Test } from 'tap'
import { test } from 'tap'
import { makePki } from '../e2e/pki.ts'
import { isPresent } from '../e2e/tool.ts'
import { scale } from '../long/scale.ts'
import type { Server, ServerOptions } from '../long/server.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import { createCgroup } from './cgroup.ts'
import type { Outcome } from './load.ts'
import { peakOf, runLoad } from './load.ts'

const mib = 1024 * 1024
const mostResident = 200 * mib
const cgroupLimit = 256 * mib
const { pulls, pushes } = scale
const load = `${pulls.count} pulls of ${pulls.bytes / mib} MiB and ${pushes.count} pushes of ${pushes.bytes / mib} MiB at once`

function complete(t: Test, { pulls: pulled, pushes: pushed, seconds }: Outcome): void {
  t.same(
    pulled,
    Array.from({ length: pulls.count }, () => pulls.bytes),
    'every pull got all of its bytes'
  )
  t.same(
    pushed,
    Array.from({ length: pushes.count }, () => 201),
    'every push was accepted'
  )
  const moved = (pulls.count * pulls.bytes + pushes.count * pushes.bytes) / mib
  t.comment(`${Math.round(moved)} MiB in ${seconds.toFixed(1)} s`)
}

async function measure(t: Test, server: Server, ca?: Buffer): Promise<void> {
  const before = await peakOf(server.pid)
  complete(t, await runLoad({ address: server.address, ...(ca ? { ca } : {}) }, scale))
  const peak = await peakOf(server.pid)
  t.comment(`peak of resident memory: ${Math.round(before / mib)} MiB at rest, ${Math.round(peak / mib)} MiB under load`)
  t.ok(peak <= mostResident, `at most ${mostResident / mib} MiB are resident, and it were ${Math.round(peak / mib)} MiB`)
  t.equal(await server.stop(), 0, 'the registry ends as it should')
}

test(`memory: ${load} stay within ${mostResident / mib} MiB`, async t => {
  await measure(t, await startServer(t, { folder: await temporaryFolder(t) }))
})

test(`memory over TLS: ${load} stay within ${mostResident / mib} MiB`, async t => {
  if (!isPresent('openssl')) return void t.pass('openssl', { skip: 'openssl is not on the PATH' })
  const folder = await temporaryFolder(t)
  const pki = await makePki(folder)
  const server = await startServer(t, { folder, server: { tls: { certificate: pki.certificate, key: pki.key } } })
  await measure(t, server, await readFile(pki.ca))
})

test(`memory: ${load} complete in a memory cgroup of ${cgroupLimit / mib} MiB without a kill`, async t => {
  const cgroup = await createCgroup(cgroupLimit)
  if (typeof cgroup === 'string') return void t.pass('cgroup', { skip: cgroup })
  const options: ServerOptions = { folder: await temporaryFolder(t), through: cgroup.through }
  // Teardowns run last to first: the process has to be gone before its cgroup.
  t.teardown(() => cgroup.remove())
  const server = await startServer(t, options)
  complete(t, await runLoad(server, scale))
  t.equal(await cgroup.kills(), 0, 'the kernel killed nothing')
  t.comment(
    `resident at most ${Math.round((await peakOf(server.pid)) / mib)} MiB, charged at most ${Math.round((await cgroup.peak()) / mib)} MiB`
  )
  t.equal(await server.stop(), 0, 'the registry ends as it should')
})
