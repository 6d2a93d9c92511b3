import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { hashSync } from '@node-rs/bcrypt'
import type { Test } from 'tap'
import { basic, type Target } from '../abuse/shapes.ts'
import { Client, digestOf } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect, pushBlob } from '../long/push.ts'
import type { Random } from '../long/random.ts'
import { type Server, startServer, temporaryFolder } from '../long/server.ts'
import type { Mode } from './place.ts'

/** A registry under attack, and what honest clients expect of it. */
export interface Besieged {
  readonly mode: Mode
  readonly server: Server
  readonly target: Target
  readonly manifest: Buffer
  readonly manifestPath: string
  /** Paths of blobs by digest. */
  readonly blobs: ReadonlyMap<string, string>
}

/** The user of honest clients, and of attackers with rights. */
export const honest = basic('puller', 'right')

const kib = 1024
const sizes = [1, 20 * kib, 300 * kib, 4096 * kib]
const silentHost = 'silent.test'

/** Starts a registry in each mode; Proxy and Direct are in front of another one, and of one that never answers; `upstreams` are their ports. */
export async function openSiege(t: Test, random: Random): Promise<{ places: Besieged[]; upstreams: number[] }> {
  const upstream = await startServer(t, { folder: await temporaryFolder(t) })
  const silent = await startSilent(t)
  const content = makeContent(random)
  await give(upstream.address, 'deckhouse/ee/app', content, random)
  const besieged: Besieged[] = []
  for (const mode of ['Local', 'Proxy', 'Direct'] as const) {
    const folder = await temporaryFolder(t)
    const file = join(folder, 'users')
    await writeFile(file, `puller:${hashSync('right', 10)}\n`)
    const imagesRepo = `${upstream.address}/deckhouse/ee`
    const upstreams = { [silentHost]: { scheme: 'HTTP', endpoints: [silent] } }
    const registry = mode === 'Local' ? { mode } : { mode, [mode.toLowerCase()]: { imagesRepo, scheme: 'HTTP' }, upstreams }
    const users = { file, roles: { puller: ['pull', 'push', 'delete'] } }
    const server = await startServer(t, { folder, sections: { registry, auth: { users, anonymous: [] } } })
    const name = 'system/deckhouse/app'
    if (mode === 'Local') await give(server.address, name, content, random)
    besieged.push({ mode, server, manifest: content.manifest, ...pathsOf(name, content) })
  }
  return { places: besieged, upstreams: [upstream.address, silent].map(each => Number(each.split(':')[1])) }
}

interface Content {
  manifest: Buffer
  bytes: readonly Buffer[]
}

function makeContent(random: Random): Content {
  const bytes = sizes.map(size => random.bytes(size))
  const [config, ...layers] = bytes.map(each => ({ digest: digestOf(each), size: each.length }))
  if (!config) throw new Error('no config')
  return { manifest: makeManifest(config, layers), bytes }
}

function pathsOf(name: string, { bytes }: Content): Pick<Besieged, 'target' | 'manifestPath' | 'blobs'> {
  const blobs = new Map(bytes.map(each => [digestOf(each), `/v2/${name}/blobs/${digestOf(each)}`]))
  const manifest = `/v2/${name}/manifests/v1`
  return {
    manifestPath: manifest,
    blobs,
    target: {
      manifest,
      list: `/v2/${name}/tags/list`,
      blob: [...blobs.values()].at(-1) ?? '',
      silent: `/v2/app/manifests/v1?ns=${silentHost}`,
      pushed: name,
      authorization: honest
    }
  }
}

async function give(address: string, name: string, { manifest, bytes }: Content, random: Random): Promise<void> {
  const client = new Client(address, 1, { authorization: honest })
  for (const each of bytes) await pushBlob(client, { name, bytes: each, way: 'monolithic', random })
  const put = { headers: manifestType, body: manifest }
  expect(201, 'a manifest', await client.ask('PUT', `/v2/${name}/manifests/v1`, put))
  await client.close()
}

/** An upstream that takes requests and says nothing. */
async function startSilent(t: Test): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
    socket.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
