import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { pipeline } from 'node:stream'
import type { Test } from 'tap'

/** A proxy and what it was asked for: `METHOD target`. */
export interface TestProxy {
  url: string
  asked: string[]
  /** The `Proxy-Authorization` of each request. */
  authorizations: (string | undefined)[]
}

/** Starts a proxy on a free port of the loopback address; with `all`, everything goes to that origin whatever its name is. */
export async function startProxy(t: Test, { all }: { all?: string } = {}): Promise<TestProxy> {
  const asked: string[] = []
  const authorizations: (string | undefined)[] = []
  const server = createServer((incoming, response) => {
    asked.push(`${incoming.method} ${incoming.url}`)
    authorizations.push(incoming.headers['proxy-authorization'])
    const url = new URL(incoming.url ?? '')
    const target = new URL(url.pathname + url.search, all ?? url.origin)
    const outgoing = request(target, { method: incoming.method ?? 'GET', headers: incoming.headers, agent: false }, answer => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      pipeline(answer, response, () => {})
    })
    outgoing.on('error', () => response.destroy())
    outgoing.end()
  })
  server.on('connect', (incoming, socket) => {
    asked.push(`CONNECT ${incoming.url}`)
    authorizations.push(incoming.headers['proxy-authorization'])
    const target = all === undefined ? new URL(`http://${incoming.url}`) : new URL(all)
    const far = connect(Number(target.port), target.hostname, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      pipeline(far, socket, far, () => {})
    })
    far.on('error', () => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets = new Set<{ destroy(): unknown }>()
  server.on('connection', socket => void sockets.add(socket))
  t.teardown(() => {
    server.close()
    for (const each of sockets) each.destroy()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, authorizations }
}
