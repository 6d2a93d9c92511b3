import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { Client, digestOf } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect, pushBlob } from '../long/push.ts'
import type { Random } from '../long/random.ts'
import type { Server } from '../long/server.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import { Tally } from './tally.ts'

/** The modes, in the order in which they are gone through. */
export const modes = ['Local', 'Proxy', 'Direct'] as const
export type Mode = (typeof modes)[number]

/** Two registries, one behind the other, and what is asked of the one in front. */
export interface Place {
  readonly server: Server
  readonly upstream: Server
  readonly random: Random
  readonly tally: Tally
  /** What the upstream has: blobs by digest, and the manifest behind the tag `v1`. */
  readonly blobs: string[]
  readonly manifest: Buffer
  /** The mode in force; undefined while it changes. */
  mode: Mode | undefined
}

/** The name that is pulled from here, and what it is called at the upstream. */
export const pulled = { here: 'system/deckhouse/app', there: 'deckhouse/ee/app' } as const

const kib = 1024
const sizes = [1, 4 * kib, 64 * kib, 300 * kib, 1024 * kib, 2048 * kib, 4096 * kib, 8192 * kib]

/** Starts both; the upstream has an image and some blobs. Sessions that nobody writes to are removed after `uploadIdle`. */
export async function openPlace(t: Test, random: Random, uploadIdle: string): Promise<Place> {
  const upstream = await startServer(t, { folder: await temporaryFolder(t) })
  const server = await startServer(t, { folder: await temporaryFolder(t), sections: { limits: { uploadIdle } } })
  const client = new Client(upstream.address, 1)
  t.teardown(() => client.close())
  const blobs: string[] = []
  for (const size of sizes) blobs.push(await give(client, random, size))
  const config = { digest: blobs[0] ?? '', size: sizes[0] ?? 0 }
  const manifest = makeManifest(config, [])
  const put = await client.ask('PUT', `/v2/${pulled.there}/manifests/v1`, { headers: manifestType, body: manifest })
  expect(201, 'a manifest', put)
  return { server, upstream, random, tally: new Tally(), blobs, manifest, mode: 'Local' }
}

async function give(client: Client, random: Random, size: number): Promise<string> {
  const bytes = random.bytes(size)
  await pushBlob(client, { name: pulled.there, bytes, way: 'monolithic', random })
  return digestOf(bytes)
}

/** Goes through the modes, `seconds` in each, until the signal; ends in Local. */
export async function goThroughModes(place: Place, seconds: number, signal: AbortSignal): Promise<void> {
  const [upstream, admin] = [new Client(place.upstream.address, 1), new Client(place.server.admin, 1)]
  try {
    for (let turn = 1; !signal.aborted; turn++) {
      const mode = modes[turn % modes.length] ?? 'Local'
      // What the upstream has only now is a download in Proxy; there are few of them, since they stay on the disk.
      if (mode === 'Proxy') await renew(place, upstream)
      await change(place, admin, mode)
      await sleep(seconds * 1000, undefined, { signal }).catch(() => {})
    }
    await change(place, admin, 'Local')
  } finally {
    await Promise.all([upstream.close(), admin.close()])
  }
}

async function renew({ blobs, random }: Place, upstream: Client): Promise<void> {
  blobs.splice(sizes.length)
  for (let count = 0; count < 3; count++) blobs.push(await give(upstream, random, random.between(1, 4096 * kib)))
}

async function change(place: Place, admin: Client, mode: Mode): Promise<void> {
  place.mode = undefined
  const imagesRepo = `${place.upstream.address}/deckhouse/ee`
  await place.server.change({
    registry: { mode, ...(mode === 'Local' ? {} : { [mode.toLowerCase()]: { imagesRepo, scheme: 'HTTP' } }) },
    cache: { tagTTL: '1s', negativeTTL: '1s' }
  })
  while (JSON.parse((await admin.ask('GET', '/status')).body.toString()).mode !== mode) await sleep(20)
  place.mode = mode
  place.tally.add(`switches to ${mode}`)
}
