import type { Test } from 'tap'
import { Client, digestOf } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect, pushBlob } from '../long/push.ts'
import { Random } from '../long/random.ts'
import { seed } from '../long/scale.ts'
import type { Server } from '../long/server.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import type { Statuses } from './judge.ts'
import { judge } from './judge.ts'
import type { FuzzRequest } from './message.ts'
import { encode, show } from './message.ts'
import type { Known } from './requests.ts'
import { scratch } from './requests.ts'
import type { WireAnswer } from './wire.ts'
import { Wire } from './wire.ts'

/** A registry with content that has to survive everything, and connections to it. */
export interface Place {
  server: Server
  folder: string
  known: Known
  /** The content, by the path at which it is asked for. */
  content: ReadonlyMap<string, Buffer>
  statuses: Statuses
}

/** Starts a registry and puts content there. */
export async function openPlace(t: Test): Promise<Place> {
  const folder = await temporaryFolder(t)
  const server = await startServer(t, { folder })
  const client = new Client(server.address, 1)
  t.teardown(() => client.close())
  const name = 'fuzz/known'
  const random = new Random(seed)
  const content = new Map<string, Buffer>()
  const blob = async (repository: string, bytes: Buffer) => {
    await pushBlob(client, { name: repository, bytes, way: 'monolithic', random })
    content.set(`/v2/${repository}/blobs/${digestOf(bytes)}`, bytes)
    return { digest: digestOf(bytes), size: bytes.length }
  }
  const config = await blob(name, random.bytes(500))
  const layer = await blob(name, random.bytes(200_000))
  const manifest = makeManifest(config, [layer])
  const referrer = makeManifest(config, [], { subject: { digest: digestOf(manifest), size: manifest.length } })
  for (const [reference, bytes] of [
    ['v1', manifest],
    ['v2.0', manifest],
    [digestOf(referrer), referrer]
  ] as const) {
    const path = `/v2/${name}/manifests/${reference}`
    expect(201, 'a manifest', await client.ask('PUT', path, { headers: manifestType, body: bytes }))
    content.set(path, bytes)
  }
  await pushBlob(client, { name: scratch, bytes: Buffer.from('{}'), way: 'monolithic', random })
  const digests = [config.digest, layer.digest, digestOf(manifest), digestOf(referrer)]
  return { server, folder, content, known: { name, digests, tags: ['v1', 'v2.0'] }, statuses: new Map() }
}

/** A connection over which answers are judged. */
export interface Judged {
  send(request: FuzzRequest): Promise<WireAnswer>
}

/** A connection of one worker. */
export function connectTo(t: Test, { server, statuses }: Place): Judged {
  const wire = new Wire(server.address)
  t.teardown(() => wire.close())
  return {
    send: async request => {
      try {
        const answer = await wire.exchange(request.method, encode(request))
        judge(request.method, answer, statuses)
        return answer
      } catch (cause) {
        wire.close()
        throw new Error(`${(cause as Error).message}\nasked was: ${show(request)}`, { cause })
      }
    }
  }
}
