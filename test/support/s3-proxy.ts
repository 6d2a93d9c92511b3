import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Ending as Until } from './place.ts'
import type { S3Server } from './s3-server.ts'

/**
/**
 * What becomes of a request: it passes, it passes and its answer is lost with the connection, it is answered without being heard by the service, its answer is cut after so many
 * bytes of its body, or nothing comes after them, or it waits for something before it passes.
 */
export type Fate = 'pass' | 'lost' | { after: Promise<unknown> } | { status: number; code: string } | Ending

type Ending = { cutAfter: number } | { restAfter: number }

/** A service that stands before another one, counts what it is asked for, and breaks it. */
export interface S3Proxy extends S3Server {
  /** Method and path with query of each request, as they came. */
  readonly requests: string[]
  /** Asked for each request. */
  fate: (method: string, path: string, headers: NodeJS.Dict<string | string[]>) => Fate
  /** The headers with which a request that passes goes on. */
  forwarded: (method: string, path: string, headers: IncomingHttpHeaders) => IncomingHttpHeaders
}

/** Such a proxy on loopback before `server`, until the test ends. */
export async function proxyS3(t: Until, server: S3Server): Promise<S3Proxy> {
  const requests: string[] = []
  const listener = createServer((incoming, response) => {
    const { method = '', url = '' } = incoming
    requests.push(`${method} ${url}`)
    const fate = proxy.fate(method, url, incoming.headers)
    if (typeof fate === 'object' && 'status' in fate) return void refuse(incoming, response, fate)
    const passing = { server, incoming, response, headers: proxy.forwarded(method, url, incoming.headers) }
    if (typeof fate === 'object' && 'after' in fate) return void fate.after.then(() => (incoming.destroyed ? undefined : forward(passing)))
    void forward(passing, fate)
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

interface Passing {
  server: S3Server
  incoming: IncomingMessage
  response: ServerResponse
  headers: IncomingHttpHeaders
}

// The host stays as the client named it: it is signed.
async function forward({ server, incoming, response, headers }: Passing, ending: 'pass' | 'lost' | Ending = 'pass'): Promise<void> {
  const { hostname, port } = new URL(server.endpoint)
  const { method, url } = incoming
  const outgoing = request({ hostname, port, method, path: url, headers, agent: false })
  outgoing.on('error', () => response.destroy())
  response.on('close', () => outgoing.destroy())
  outgoing.on('response', answer => {
    if (ending === 'lost') return void response.destroy()
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    if (ending !== 'pass') return void cut(answer, response, ending).catch(() => response.destroy())
    pipeline(answer, response).catch(() => response.destroy())
  })
  await pipeline(incoming, outgoing).catch(() => response.destroy())
}

async function cut(answer: IncomingMessage, response: ServerResponse, ending: Ending): Promise<void> {
  let left = 'cutAfter' in ending ? ending.cutAfter : ending.restAfter
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    response.write(chunk.subarray(0, left))
    left -= chunk.length
    if (left <= 0) break
  }
  if ('restAfter' in ending) return
  // What was written is on its way before the connection goes.
  response.write('', () => response.destroy())
}
