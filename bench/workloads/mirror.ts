import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startEnvironment, startFlags } from '../../test/long/server.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { settle } from '../blob.ts'
import { digestOf } from '../content.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { ours } from '../servers/ours.ts'
import { cpuOf, residentOf } from '../usage.ts'

/** A bundle into an empty registry, again, and verified. */
export const mirror: Workload = {
  name: 'mirror',
  title: 'Pushing a bundle',
  about:
    'A bundle of 60 images that share five base layers, in one archive as d8 packs it, into an empty registry of ours over plain HTTP. The peer unpacks it with GNU tar and copies image after image with skopeo. Then the same once more, and each digest of the bundle computed, beside `sha256sum` of the archive. Wall time and memory are those of the client, CPU is that of client and registry together.',
  tools: ['skopeo'],
  run
}

const images = 60
const bases = 5
const baseShare = 0.3
const script = join(import.meta.dirname, '../../dist/src/main.js')

interface MadeBundle {
  archive: string
  tags: string[]
  bytes: number
}

async function run(bench: Bench, record: Record): Promise<void> {
  await inFolder(bench, async folder => {
    const made = makeBundle(folder, bench.large)
    const clients = [
      { name: 'ours', push: pushOurs },
      { name: 'tar and skopeo', push: pushSkopeo }
    ]
    await interleave(bench.rounds, clients, async ({ name, push }) => {
      const prepare = async (_: unknown, root: string) => ({ task: { mode: 'Local' as const, root } })
      await withServers(bench, [ours], prepare, async ([target]) => {
        if (!target) throw new Error('there is no target')
        for (const title of ['into an empty registry', 'again']) {
          const place = join(folder, 'unpacked')
          mkdirSync(place)
          await settle()
          const usage = await push(made, target.server.address, place)
          rmSync(place, { recursive: true })
          bench.say(`${name}: ${title}: ${usage.seconds.toFixed(1)} s`)
          record(title, name, {
            'wall s': usage.seconds,
            'CPU s/GiB': usage.cpuSeconds / (made.bytes / GIB),
            'peak RSS MiB': usage.peakBytes / MIB,
            'extra disk MiB': usage.diskBytes / MIB
          })
        }
      })
    })
    const verifiers = [
      { name: 'ours', args: [process.execPath, ...startFlags, script, 'mirror', 'verify', made.archive] },
      { name: 'sha256sum', args: ['sha256sum', made.archive] }
    ]
    await interleave(bench.rounds, verifiers, async ({ name, args }) => {
      const { seconds, cpuSeconds, peakBytes } = await client([args])
      record('verify', name, {
        'MiB/s': made.bytes / MIB / seconds,
        'CPU s/GiB': cpuSeconds / (made.bytes / GIB),
        'peak RSS MiB': peakBytes / MIB
      })
    })
  })
}

async function pushOurs({ archive }: MadeBundle, address: string): Promise<ClientUsage & { diskBytes: number }> {
  const args = [process.execPath, ...startFlags, script, 'mirror', 'push', archive, '--to', `${address}/system/deckhouse`, '--insecure']
  return { ...(await client([args])), diskBytes: 0 }
}

async function pushSkopeo({ archive, tags }: MadeBundle, address: string, place: string): Promise<ClientUsage & { diskBytes: number }> {
  const copies = tags.map(tag => [
    'skopeo',
    '--insecure-policy',
    'copy',
    '--all',
    '--preserve-digests',
    '--dest-tls-verify=false',
    `oci:${place}:${tag}`,
    `docker://${address}/system/deckhouse:${tag}`
  ])
  const usage = await client([['tar', '-xf', archive, '-C', place], ...copies])
  return { ...usage, diskBytes: Number(execFileSync('du', ['-sB1', place], { encoding: 'utf8' }).split('\t')[0]) }
}

interface ClientUsage {
  seconds: number
  cpuSeconds: number
  peakBytes: number
}

const lookEveryMs = 50

/** Runs commands one after another; throws where one fails. */
async function client(commands: readonly string[][]): Promise<ClientUsage> {
  const [began, before] = [performance.now(), cpuOf(process.pid)]
  let peakBytes = 0
  for (const [command = '', ...args] of commands) {
    const child = spawn(command, args, { env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...startEnvironment }, stdio: 'ignore' })
    const ended = once(child, 'close')
    let over = false
    void ended.then(() => {
      over = true
    })
    while (!over) {
      peakBytes = Math.max(peakBytes, residentOf(child.pid ?? 0))
      await Promise.race([ended, sleep(lookEveryMs)])
    }
    if (child.exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${child.exitCode}`)
  }
  // Children count as ours when they have ended.
  return { seconds: (performance.now() - began) / 1000, cpuSeconds: cpuOf(process.pid) - before, peakBytes }
}

function makeBundle(folder: string, bytes: number): MadeBundle {
  const layout = join(folder, 'layout')
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  const add = (mediaType: string, content: Buffer) => {
    const digest = digestOf(content)
    writeFileSync(join(layout, 'blobs', digest.replace(':', '/')), content)
    return { mediaType, digest, size: content.length }
  }
  const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'
  const layer = (size: number) => add(layerType, randomBytes(Math.floor(size)))
  const shared = Array.from({ length: bases }, () => layer((bytes * baseShare) / bases))
  const manifests = Array.from({ length: images }, (_, at) => {
    const config = add(
      'application/vnd.oci.image.config.v1+json',
      Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] }, at }))
    )
    const layers = [...shared.slice(at % bases, (at % bases) + 1), layer((bytes * (1 - baseShare)) / images)]
    const manifestType = 'application/vnd.oci.image.manifest.v1+json'
    const manifest = add(manifestType, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers })))
    return { ...manifest, annotations: { 'org.opencontainers.image.ref.name': `v${at}`, 'io.deckhouse.image.short_tag': `v${at}` } }
  })
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  const archive = join(folder, 'platform.tar')
  execFileSync('tar', ['--format=gnu', '-cf', archive, '-C', layout, 'blobs', 'index.json', 'oci-layout'])
  rmSync(layout, { recursive: true })
  return { archive, tags: manifests.map((_, at) => `v${at}`), bytes }
}
