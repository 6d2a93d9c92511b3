// The attacks on the program as it is started in earnest. Without credentials, 10 connections pipelined 200,000 requests
// with one wrong password while the queue of bcrypt was full, and the process ended. With the right to pull, the same in
// Direct before a silent upstream; in Local two such connections held 6,659 files and 187 MiB.
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { type Test, test } from 'tap'
import { flood, pipelined } from '../abuse/attack.ts'
import { Wire } from '../src/api/wire.ts'
import { ask, basicOf, bytesOf, digestOf, guarded, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { launch } from './program.ts'
import { behind, prefix } from './scene.ts'

const MIB = 1024 * 1024
const maxResidentBytes = 256 * MIB
// The clients of the attacks have each an open file in the registry, and blobs are one more.
const sparedFiles = 16

type Launched = Awaited<ReturnType<typeof launch>>

/** What the process holds. */
async function held({ child }: Launched) {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
  const bytes = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024
  return { mostBytes: bytes('VmHWM'), files: (await readdir(`/proc/${child.pid}/fd`)).length }
}

/** Attacks while an honest client asks, and checks that the process goes on, is small, and gives its files back. */
async function withstands(t: Test, registry: Launched, attack: () => Promise<Wire[]>, honest: () => Promise<number>) {
  t.equal(await honest(), 200)
  const before = await held(registry)
  const wires = await attack()
  for (let requests = 0; requests < 50; requests++) {
    const status = await honest()
    if (status !== 200) t.fail(`an honest client was answered ${status}`)
  }
  const { files } = await held(registry)
  t.ok(files <= before.files + 2 * wires.length + sparedFiles, `${files} files`)
  for (const wire of wires) wire.socket.destroy()
  await until(async () => (await held(registry)).files <= before.files + sparedFiles)
  t.equal(registry.child.exitCode, null)
  const { mostBytes } = await held(registry)
  t.ok(mostBytes <= maxResidentBytes, `${Math.round(mostBytes / MIB)} MiB at most`)
  t.equal(await honest(), 200)
}

test('200,000 pipelined requests with one wrong password beside a full queue of bcrypt', async t => {
  const registry = await launch(t, { mode: 'Local' }, { auth: guarded(t) })
  const honest = async () => (await ask(registry.listen, 'GET', '/v2/', { headers: { authorization: basicOf('ro') } })).status
  const wrong = (password: string) => [`Authorization: Basic ${Buffer.from(`ro:${password}`).toString('base64')}`]
  const attack = async () => {
    const others = Array.from({ length: 70 }, (_each, at) => flood(t, registry.listen, pipelined(1, 'GET /v2/', wrong(`w${at}`))))
    const one = Array.from({ length: 10 }, () => flood(t, registry.listen, pipelined(20_000, 'GET /v2/', wrong('wrong'))))
    return await Promise.all([...others, ...one])
  }
  await withstands(t, registry, attack, honest)
})

test('Direct: connections that pipeline before a silent upstream', async t => {
  const upstream = await startUpstream(t)
  const silence = Promise.withResolvers<void>()
  upstream.faults.headerDelay = silence.promise
  const registry = await launch(t, behind('Direct', upstream))
  const line = `GET /v2/${prefix.here}/app/manifests/v1`
  const attack = () => Promise.all(Array.from({ length: 10 }, () => flood(t, registry.listen, pipelined(20_000, line))))
  const honest = async () => (await ask(registry.listen, 'GET', '/v2/')).status
  await withstands(t, registry, attack, honest).finally(() => silence.resolve())
})

test('Local: connections that pipeline pulls and read nothing', async t => {
  const registry = await launch(t, { mode: 'Local' })
  const bytes = bytesOf(16 * MIB)
  const path = `/v2/a/blobs/${digestOf(bytes)}`
  t.equal((await ask(registry.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes })).status, 201)
  const attack = () =>
    Promise.all(
      Array.from({ length: 2 }, async () => {
        const wire = await Wire.dial(t, registry.listen)
        wire.socket.pause()
        wire.socket.write(pipelined(8_000, `GET ${path}`))
        return wire
      })
    )
  await withstands(t, registry, attack, async () => (await ask(registry.listen, 'HEAD', path)).status)
})

/** Open files that this process may have. */
async function maxFiles(): Promise<number> {
  return Number(/Max open files\s+(\d+)/.exec(await readFile('/proc/self/limits', 'utf8'))?.[1])
}

test('an honest cluster of 500 nodes behind few addresses, 22 pulls at once each, goes through untouched', async t => {
  // Fewer nodes where the limit of open files is lower.
  const nodes = Math.min(500, Math.floor(((await maxFiles()) - 1_000) / 22))
  t.comment(`${nodes} nodes`)
  const registry = await launch(t, { mode: 'Local' }, { limits: { connections: nodes * 22 } })
  const bytes = bytesOf(1000)
  const path = `/v2/a/blobs/${digestOf(bytes)}`
  t.equal((await ask(registry.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes })).status, 201)
  const [host = '', port] = registry.listen.split(':')
  const pull = async (from: string): Promise<boolean> => {
    const socket = connect({ host, port: Number(port), localAddress: from })
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    let received = 0
    const done = new Promise<boolean>(resolve => {
      socket.on('data', chunk => {
        received += chunk.length
        if (received > bytes.length) resolve(true)
      })
      socket.once('close', () => resolve(false))
    })
    socket.write(pipelined(1, `GET ${path}`))
    // The connection stays open, as those of clients do.
    return await done
  }
  const pulls = Array.from({ length: nodes * 22 }, (_each, at) => pull(`127.0.0.${2 + (at % 4)}`))
  t.equal((await Promise.all(pulls)).filter(Boolean).length, nodes * 22)
  const metrics = (await ask(registry.admin, 'GET', '/metrics')).body.toString()
  t.match(metrics, /^registry_connections_dropped_total 0$/m)
  t.notMatch(metrics, /^registry_connections_closed_total\{reason="(idle|pipelined|unread)"\} [1-9]/m)
})
