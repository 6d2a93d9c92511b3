import { createReadStream } from 'node:fs'
import { must } from '../test/e2e/command.ts'
import { Client } from '../test/long/client.ts'
import { expect } from '../test/long/push.ts'
import type { Blob } from './blob.ts'
import { curlTls, urlOf } from './download.ts'
import type { Server } from './servers/server.ts'

const octets = { 'content-type': 'application/octet-stream' }
const limit = 600_000

/** Pushes a blob by POST and PUT, the body sent by curl from the file. */
export async function pushWhole(server: Server, name: string, { file, digest }: Blob): Promise<void> {
  const curl = (...args: string[]) => must('curl', ['-q', '-sS', ...curlTls(server), ...args], { limit })
  const started = await curl(
    '-X',
    'POST',
    '-H',
    'Content-Length: 0',
    '-D',
    '-',
    '-o',
    '/dev/null',
    `${urlOf(server)}/v2/${name}/blobs/uploads/`
  )
  const location = /^location: (\S+)/im.exec(started)?.[1]
  if (location === undefined) throw new Error(`${server.name} opened no upload:\n${started}`)
  const url = new URL(location, urlOf(server))
  url.searchParams.set('digest', digest)
  const headers = ['-H', 'Expect:', '-H', `Content-Type: ${octets['content-type']}`]
  const status = await curl('-T', file, ...headers, '-o', '/dev/null', '-w', '%{http_code}', url.href)
  if (status !== '201') throw new Error(`${server.name} answered a PUT with ${status}`)
}

/** Pushes a blob in chunks over one connection; plain HTTP only. */
export async function pushChunks(server: Server, name: string, { file, digest, size }: Blob, chunk: number): Promise<void> {
  await withClient(server, 1, async client => {
    let path = await open(client, server, name)
    for (let at = 0; at < size; at += chunk) {
      const end = Math.min(size, at + chunk) - 1
      const headers = { ...octets, 'content-range': `${at}-${end}`, 'content-length': String(end + 1 - at) }
      const body = createReadStream(file, { start: at, end, highWaterMark: 1024 * 1024 })
      path = locationOf(expect(202, 'a PATCH', await client.ask('PATCH', path, { headers, body })), server)
    }
    expect(201, 'a PUT', await client.ask('PUT', withDigest(path, digest), { headers: { ...octets, 'content-length': '0' } }))
  })
}

/** Pushes many small blobs over several connections. */
export async function pushSmall(
  server: Server,
  name: string,
  blobs: readonly { bytes: Buffer; digest: string }[],
  connections: number
): Promise<void> {
  await withClient(server, connections, async client => {
    const queue = blobs.values()
    const worker = async () => {
      for (const { bytes, digest } of queue) {
        const path = await open(client, server, name)
        expect(201, 'a PUT', await client.ask('PUT', withDigest(path, digest), { headers: octets, body: bytes }))
      }
    }
    await Promise.all(Array.from({ length: connections }, worker))
  })
}

async function withClient(server: Server, connections: number, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client(server.address, connections)
  try {
    await work(client)
  } finally {
    await client.close()
  }
}

async function open(client: Client, server: Server, name: string): Promise<string> {
  return locationOf(expect(202, 'a POST', await client.ask('POST', `/v2/${name}/blobs/uploads/`)), server)
}

function locationOf({ headers }: { headers: { [name: string]: unknown } }, server: Server): string {
  const { pathname, search } = new URL(String(headers['location']), urlOf(server))
  return `${pathname}${search}`
}

function withDigest(path: string, digest: string): string {
  return `${path}${path.includes('?') ? '&' : '?'}digest=${digest}`
}
