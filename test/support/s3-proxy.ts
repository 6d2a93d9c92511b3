import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Ending as Scope } from './place.ts'
import type { S3Server } from './s3-server.ts'

/**
 * What happens to a request. `pass`: it is forwarded. `lost`: it is forwarded, and its response is lost with the
 * connection. `after`: it is forwarded later. `status`: it gets this response and is not forwarded. `cutAfter`: the
 * response is truncated after so many bytes of its body. `restAfter`: after so many bytes it stalls.
 */
export type Fate = 'pass' | 'lost' | { after: Promise<unknown> } | { status: number; code: string } | Ending

type Ending = { cutAfter: number } | { restAfter: number }

/** A proxy in front of a service that records requests and injects faults. */
export interface S3Proxy extends S3Server {
  /** Method and path with query of each request, in order. */
  readonly requests: string[]
  /** Decides what happens to a request. */
  fate: (method: string, path: string, headers: NodeJS.Dict<string | string[]>) => Fate
  /** The headers with which a request is forwarded. */
  forwarded: (method: string, path: string, headers: IncomingHttpHeaders) => IncomingHttpHeaders
}

/** A proxy on loopback in front of `server`, until the test ends. */
export async function proxyS3(t: Scope, server: S3Server): Promise<S3Proxy> {
  const requests: string[] = []
  const listener = createServer((incoming, response) => {
    const { method = '', url = '' } = incoming
    requests.push(`${method} ${url}`)
    const fate = proxy.fate(method, url, incoming.headers)
    if (typeof fate === 'object' && 'status' in fate) return void refuse(incoming, response, fate)
    const forwarding = { server, incoming, response, headers: proxy.forwarded(method, url, incoming.headers) }
    if (typeof fate === 'object' && 'after' in fate)
      return void fate.after.then(() => (incoming.destroyed ? undefined : forward(forwarding)))
    void forward(forwarding, fate)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => {
    listener.closeAllConnections()
    listener.close()
  })
  const endpoint = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`
  const proxy: S3Proxy = { ...server, endpoint, requests, fate: () => 'pass', forwarded: (_method, _path, headers) => headers }
  return proxy
}

async function refuse(
  incoming: IncomingMessage,
  response: ServerResponse,
  { status, code }: { status: number; code: string }
): Promise<void> {
  incoming.resume()
  await once(incoming, 'end').catch(() => {})
  const body =
    incoming.method === 'HEAD' || status < 300 ? '' : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`
  response.writeHead(status, { 'content-type': 'application/xml' }).end(body)
}

interface Forwarding {
  server: S3Server
  incoming: IncomingMessage
  response: ServerResponse
  headers: IncomingHttpHeaders
}

// Keeps the client's `Host`, which is signed.
async function forward({ server, incoming, response, headers }: Forwarding, ending: 'pass' | 'lost' | Ending = 'pass'): Promise<void> {
  const { hostname, port } = new URL(server.endpoint)
  const { method, url } = incoming
  const outgoing = request({ hostname, port, method, path: url, headers, agent: false })
  outgoing.on('error', () => response.destroy())
  response.on('close', () => outgoing.destroy())
  outgoing.on('response', reply => {
    if (ending === 'lost') return void response.destroy()
    response.writeHead(reply.statusCode ?? 502, reply.headers)
    if (ending !== 'pass') return void truncate(reply, response, ending).catch(() => response.destroy())
    pipeline(reply, response).catch(() => response.destroy())
  })
  await pipeline(incoming, outgoing).catch(() => response.destroy())
}

async function truncate(reply: IncomingMessage, response: ServerResponse, ending: Ending): Promise<void> {
  let left = 'cutAfter' in ending ? ending.cutAfter : ending.restAfter
  for await (const chunk of reply as AsyncIterable<Buffer>) {
    response.write(chunk.subarray(0, left))
    left -= chunk.length
    if (left <= 0) break
  }
  if ('restAfter' in ending) return
  // Flushes before the connection is closed.
  response.write('', () => response.destroy())
}
