// A push and a pull of a bundle that are killed (kill -9) at random points and run again.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import { BundleMaker, digestOf, splitArchive, writeArchive } from '../support/bundle.ts'
import { program } from '../support/program.ts'
import { startPushProxy } from '../support/push-proxy.ts'

// A kill at each of them: 30 at full size.
const kills = Math.max(6, Math.min(30, Math.floor(scale.crashRounds / 3)))
const atOnce = 2

async function make(folder: string, random: Random): Promise<{ maker: BundleMaker; place: string }> {
  const place = join(folder, 'bundle')
  mkdirSync(place)
  const maker = new BundleMaker()
  const shared = random.bytes(2_000_000)
  maker.addImage('', 'v1', { layers: [shared, random.bytes(1_500_000)] })
  maker.addImage('install', 'v1', { layers: [shared, random.bytes(800_000)] })
  maker.addImage('modules/console', 'v1', { layers: [random.bytes(3_000_000), random.bytes(10)] })
  await writeArchive(join(place, 'platform.tar'), maker.entries(['', 'install']))
  await splitArchive(join(place, 'platform.tar'), 1_000_000)
  await writeArchive(join(place, 'module-console.tar'), maker.entries(['modules/console']))
  return { maker, place }
}

function start(t: Test, args: readonly string[]) {
  const child = spawn(process.execPath, [...program, 'mirror', ...args], {
    env: { PATH: process.env['PATH'], HOME: '/' },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let written = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      written += chunk
    })
  return { child, ended: once(child, 'close').then(() => ({ code: child.exitCode, written })) }
}

/** Runs a command to its end and answers how long that took; throws where it fails. */
async function whole(t: Test, args: readonly string[]): Promise<number> {
  const began = performance.now()
  const { code, written } = await start(t, args).ended
  if (code !== 0) throw new Error(`mirror ${args.join(' ')}: exit code ${code}\n${written}`)
  return performance.now() - began
}

async function killed(t: Test, args: readonly string[], afterMs: number): Promise<boolean> {
  const { child, ended } = start(t, args)
  const first = await Promise.race([ended, sleep(afterMs).then(() => undefined)])
  if (first) return false
  child.kill('SIGKILL')
  await ended
  return true
}

test(`mirror push: killed at ${kills} random points and run again, all is there, and no blob was sent whole twice (${repeat})`, async t => {
  const random = new Random(seed)
  const folder = await temporaryFolder(t)
  const { maker, place } = await make(folder, random)
  const server = await startServer(t, { folder })
  const proxy = await startPushProxy(t, server.address)
  const to = (path: string) => [
    'push',
    place,
    '--to',
    `${new URL(proxy.url).host}/${path}`,
    '--insecure',
    '--at-once',
    `${atOnce}`,
    '--patience',
    '60'
  ]
  const tookMs = await whole(t, to('undisturbed'))
  const sizes = new Map(maker.images.flatMap(each => each.blobs.map(blob => [digestOf(blob), blob.length] as const)))
  let reallyKilled = 0
  for (let round = 0; round < kills; round++) {
    proxy.requests.length = 0
    if (await killed(t, to(`round-${round}`), random.between(0, Math.ceil(tookMs)))) reallyKilled++
    await whole(t, to(`round-${round}`))
    const sent = new Map<string, number>()
    for (const { path, bytes } of proxy.requests) {
      const digest = new URL(path, proxy.url).searchParams.get('digest') ?? ''
      if (bytes > 0 && bytes === sizes.get(digest)) sent.set(digest, (sent.get(digest) ?? 0) + 1)
    }
    // The answer to the last request of each that was under way may have been lost with the process.
    const twice = [...sent].filter(([, count]) => count > 1)
    t.ok(twice.length <= atOnce, `round ${round}: ${twice.length} blobs were sent twice`)
    for (const { path, tag, digest } of maker.images) {
      const name = [`round-${round}`, path].filter(Boolean).join('/')
      const answer = await fetch(`http://${server.address}/v2/${name}/manifests/${tag}`, {
        headers: { accept: 'application/vnd.oci.image.manifest.v1+json' }
      })
      if (answer.headers.get('docker-content-digest') !== digest) t.fail(`round ${round}: ${name}:${tag}`)
      await answer.arrayBuffer()
    }
  }
  t.ok(reallyKilled > 0, `${reallyKilled} were killed before they ended`)
})

test(`mirror pull: killed at ${kills} random points and run again, its bytes are those of an undisturbed one (${repeat})`, async t => {
  const random = new Random(seed + 1)
  const folder = await temporaryFolder(t)
  const { maker, place } = await make(folder, random)
  const server = await startServer(t, { folder })
  await whole(t, ['push', place, '--to', `${server.address}/from`, '--insecure'])
  const list = join(folder, 'list.txt')
  writeFileSync(list, maker.images.map(({ path, tag }) => `${path}:${tag}\n`).join(''))
  const into = (name: string) => [
    'pull',
    list,
    '--from',
    `${server.address}/from`,
    '--insecure',
    '--output',
    join(folder, name),
    '--chunk-size',
    '1MiB',
    '--at-once',
    `${atOnce}`
  ]
  const tookMs = await whole(t, into('undisturbed'))
  const bytesOf = (name: string) => {
    const files = readdirSync(join(folder, name)).sort()
    return files.map(file => `${file} ${digestOf(readFileSync(join(folder, name, file)))}`)
  }
  const expected = bytesOf('undisturbed')
  let reallyKilled = 0
  for (let round = 0; round < kills; round++) {
    for (let times = random.between(1, 3); times > 0; times--)
      if (await killed(t, into(`round-${round}`), random.between(0, Math.ceil(tookMs)))) reallyKilled++
    await whole(t, into(`round-${round}`))
    t.same(bytesOf(`round-${round}`), expected, `round ${round}`)
  }
  await whole(t, ['verify', join(folder, 'undisturbed')])
  t.ok(reallyKilled > 0, `${reallyKilled} were killed before they ended`)
})
