import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, request } from 'node:http'
import { pipeline } from 'node:stream/promises'

/** A server in front of registries. */
export interface Relay {
  /** `127.0.0.1:port` */
  readonly address: string
  stop(): void
}

/** Sends each request to the registry that `choose` gives the address of, and changes nothing on the way. */
export async function startRelay(choose: (incoming: IncomingMessage) => string): Promise<Relay> {
  const server = createServer((incoming, answer) => forward(incoming, answer, choose(incoming)))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('a TCP server has no port')
  return {
    address: `127.0.0.1:${bound.port}`,
    stop: () => {
      server.close()
      server.closeAllConnections()
    }
  }
}

function forward(incoming: IncomingMessage, answer: ServerResponse, to: string): void {
  const { method, url: path, headers } = incoming
  const [hostname, port] = to.split(':')
  const outgoing = request({ hostname, port, method, path, headers, agent: false }, received => {
    answer.writeHead(received.statusCode ?? 502, received.rawHeaders)
    pipeline(received, answer).catch(() => answer.destroy())
  })
  // An answer that comes before the body was read to its end is an answer; the rest of the body is of no use to anybody.
  outgoing.once('error', () => {
    if (!answer.headersSent) answer.destroy()
  })
  pipeline(incoming, outgoing).catch(() => outgoing.destroy())
}
