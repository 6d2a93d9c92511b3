import { Readable } from 'node:stream'
import type { Client, Reply } from './client.ts'
import { digestOf, UnexpectedReply } from './client.ts'
import type { Random } from './random.ts'

/** How a blob is pushed: POST and PUT, one POST, in chunks, or as a stream of unknown length. */
export const ways = ['monolithic', 'single', 'chunked', 'streamed'] as const
export type Way = (typeof ways)[number]

/** How far an upload session has come. */
export interface Session {
  path: string
  bytes: Buffer
  digest: string
  /** Bytes that the registry may have, and bytes that it said to have. */
  sent: number
  acknowledged: number
  /** The PUT that ends it is under way. */
  finishing: boolean
}

/** A blob that is to be pushed. */
export interface Push {
  name: string
  bytes: Buffer
  way: Way
  algorithm?: 'sha256' | 'sha512'
  random: Random
  /** Is told of the upload session once there is one. */
  opened?: (session: Session) => void
}

const octets = { 'content-type': 'application/octet-stream' }

/** Pushes a blob; resolves when the registry has answered 201. */
export async function pushBlob(client: Client, push: Push): Promise<void> {
  const { name, bytes, way, random } = push
  if (way === 'single') {
    const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(bytes, push.algorithm)}`
    return void expect(201, 'a POST with digest', await client.ask('POST', path, { headers: octets, body: bytes }))
  }
  const session = await startSession(client, push)
  if (way === 'chunked') await sendChunks(client, session, random)
  if (way === 'streamed') await sendStream(client, session, random)
  await finish(client, session)
}

/** Starts an upload session for a blob. */
export async function startSession(client: Client, { name, bytes, algorithm = 'sha256', opened }: Push): Promise<Session> {
  const started = expect(202, 'a POST', await client.ask('POST', `/v2/${name}/blobs/uploads/?digest-algorithm=${algorithm}`))
  const path = String(started.headers['location'])
  const session = { path, bytes, digest: digestOf(bytes, algorithm), sent: 0, acknowledged: 0, finishing: false }
  opened?.(session)
  return session
}

async function sendChunks(client: Client, session: Session, random: Random): Promise<void> {
  const { bytes } = session
  // Sometimes all of it, sometimes a rest that comes with the PUT.
  const end = random.next() < 0.5 ? bytes.length : random.between(0, bytes.length)
  while (session.sent < end)
    await sendChunk(client, session, Math.min(end, session.sent + random.between(2, Math.max(2, bytes.length / 2))))
}

/** Sends what comes next, up to but without `end`, with its Content-Range. */
export async function sendChunk(client: Client, session: Session, end: number): Promise<void> {
  const from = session.sent
  session.sent = end
  const headers = { ...octets, 'content-range': `${from}-${end - 1}` }
  expect(202, 'a PATCH', await client.ask('PATCH', session.path, { headers, body: session.bytes.subarray(from, end) }))
  session.acknowledged = end
}

async function sendStream(client: Client, session: Session, random: Random): Promise<void> {
  const { bytes, path } = session
  async function* pieces() {
    while (session.sent < bytes.length) {
      const from = session.sent
      session.sent = Math.min(bytes.length, from + random.between(1, 128 * 1024))
      yield bytes.subarray(from, session.sent)
    }
  }
  expect(202, 'a streamed PATCH', await client.ask('PATCH', path, { headers: octets, body: Readable.from(pieces()) }))
  session.acknowledged = session.sent
}

/** Ends a session with what was not sent yet; resolves when the registry has answered 201. */
export async function finish(client: Client, session: Session): Promise<void> {
  const rest = session.bytes.subarray(session.sent)
  session.sent = session.bytes.length
  session.finishing = true
  expect(201, 'a PUT', await client.ask('PUT', `${session.path}?digest=${session.digest}`, { headers: octets, body: rest }))
}

/** The answer, if it has this status. */
export function expect(status: number, what: string, reply: Reply): Reply {
  if (reply.status !== status) throw new UnexpectedReply(what, reply)
  return reply
}
