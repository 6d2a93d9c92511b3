import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, digestOf, UnexpectedReply } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect, pushBlob, startSession, ways } from '../long/push.ts'
import { pull } from '../modes/client.ts'
import type { Mode, Place } from './place.ts'
import { pulled } from './place.ts'

type Turn = (place: Place, client: Client, number: number) => Promise<void>

const mib = 1024 * 1024
// Half of a core: what is looked for is what stays behind, which does not come sooner from a machine that has no more to give.
const pause = 400
const clients: readonly (readonly [count: number, turn: Turn])[] = [
  [12, pullBlob],
  [4, pullSlowly],
  [4, leavePull],
  [4, askForManifests],
  [4, pushAndDelete],
  [4, leavePush]
]

/** Clients of all kinds, each over and over until the signal; resolves when the last has gone. */
export async function churn(place: Place, signal: AbortSignal): Promise<void> {
  const all = clients.flatMap(([count, turn]) => Array.from({ length: count }, (_, number) => repeat(place, turn, number, signal)))
  await Promise.all(all)
}

async function repeat(place: Place, turn: Turn, number: number, signal: AbortSignal): Promise<void> {
  const client = new Client(place.server.address, 1)
  while (!signal.aborted) {
    const began = place.mode
    await turn(place, client, number).catch((error: Error) => {
      // Only Local can be pushed to.
      const refused = error instanceof UnexpectedReply && error.status === 405 && !stayed(place, began, ['Local'])
      if (refused) place.tally.add('pushes refused')
      else place.tally.fault(`${turn.name} in ${place.mode}: ${error.message}`)
    })
    await sleep(place.random.between(0, pause), undefined, { signal }).catch(() => {})
  }
  await client.close()
}

/** Whether a request was made and answered in one of these modes. */
function stayed({ mode }: Place, began: Mode | undefined, wanted: readonly Mode[]): boolean {
  return mode !== undefined && mode === began && wanted.includes(mode)
}

function somewhere({ blobs, random }: Place): string {
  return random.pick(blobs) ?? ''
}

async function pullBlob(place: Place): Promise<void> {
  await check(place, pulled.here, somewhere(place))
}

async function pullSlowly(place: Place): Promise<void> {
  await check(place, pulled.here, somewhere(place), 2 * mib)
}

async function check(place: Place, name: string, digest: string, bytesPerSecond = Infinity): Promise<void> {
  const { server, tally, mode } = place
  const seen = await pull(server.address, `/v2/${name}/blobs/${digest}`, { bytesPerSecond })
  const { status, complete } = seen
  // Local has what was once pulled, and nothing else.
  if (status === 404 && !stayed(place, mode, ['Proxy', 'Direct'])) return tally.add('pulls of what is not stored')
  if (status !== 200) return tally.fault(`a pull in ${mode} was answered with ${status}`)
  if (!complete || seen.digest !== digest) return tally.fault(`a pull in ${mode} got ${seen.bytes} bytes of another digest`)
  tally.add(`pulls in ${mode ?? 'between'}`)
}

async function leavePull(place: Place): Promise<void> {
  const { server, tally, random } = place
  await pull(server.address, `/v2/${pulled.here}/blobs/${somewhere(place)}`, { leaveAfter: random.between(1, mib) })
  tally.add('pulls left')
}

async function askForManifests(place: Place, client: Client): Promise<void> {
  const { random, tally, manifest, mode } = place
  const found = await client.ask('GET', `/v2/${pulled.here}/manifests/v1`)
  if (found.status === 200 && found.body.equals(manifest)) tally.add('manifests')
  else if (found.status !== 404 || stayed(place, mode, ['Proxy', 'Direct'])) tally.fault(`a manifest in ${mode}: ${found.status}`)
  // Ever new names, tags and digests: nothing may remember all of them.
  const number = random.between(0, 2 ** 31)
  for (const path of [`app/manifests/t${number}`, `n${number}/manifests/v1`, `app/blobs/${digestOf(random.bytes(8))}`])
    expect(404, 'what is nowhere', await client.ask('GET', `/v2/system/deckhouse/${path}`))
}

async function pushAndDelete(place: Place, client: Client, number: number): Promise<void> {
  const { random, tally, mode } = place
  const name = `system/deckhouse/pushed-${number}`
  // Deleting takes the link and leaves the bytes, so what is large comes from a few contents.
  const bytes = random.next() < 0.5 ? random.bytes(random.between(1, 4096)) : Buffer.alloc(random.between(1, 4) * mib, 'soak')
  await pushBlob(client, { name, bytes, way: random.pick(ways) ?? 'single', random })
  const part = { digest: digestOf(bytes), size: bytes.length }
  const manifest = makeManifest(part, [], { note: `${random.next()}` })
  const path = `/v2/${name}/manifests/${digestOf(manifest)}`
  expect(201, 'a manifest', await client.ask('PUT', path, { headers: manifestType, body: manifest }))
  expect(202, 'a deletion', await client.ask('DELETE', path))
  await check(place, name, part.digest)
  expect(202, 'a deletion', await client.ask('DELETE', `/v2/${name}/blobs/${part.digest}`))
  tally.add(`pushes in ${mode ?? 'between'}`)
}

/** Breaks off in the middle of the body; half of the sessions are cancelled then, the others are left to the registry. */
async function leavePush({ server, random, tally }: Place, client: Client, number: number): Promise<void> {
  const bytes = Buffer.alloc(random.between(2, 8) * mib, 'left')
  const session = await startSession(client, { name: `system/deckhouse/left-${number}`, bytes, way: 'streamed', random })
  const headers = { 'content-type': 'application/octet-stream', 'content-length': bytes.length }
  const [host, port] = server.address.split(':')
  const outgoing = request({ host, port, method: 'PATCH', path: session.path, agent: false, headers })
  outgoing.on('error', () => {})
  await new Promise(resolve => outgoing.write(bytes.subarray(0, bytes.length / 2), resolve))
  const closed = new Promise(resolve => outgoing.once('close', resolve))
  outgoing.destroy()
  await closed
  tally.add('pushes left')
  if (random.next() < 0.5) return
  expect(204, 'a cancellation', await client.ask('DELETE', session.path))
  tally.add('sessions cancelled')
}
