import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, request } from 'node:http'
import { pipeline } from 'node:stream/promises'

/** A server in front of two registries. */
export interface Split {
  /** `127.0.0.1:port` */
  readonly address: string
  /** Requests so far. */
  readonly counts: { readonly writes: number; readonly reads: number }
  stop(): void
}

/**
 * Sends what writes (with everything about upload sessions) to one registry and what reads to the other, and changes nothing on the way. The suite tests only what it has
 * pushed itself, and Direct and Proxy cannot be pushed to.
 */
export async function startSplit(writes: string, reads: string): Promise<Split> {
  const counts = { writes: 0, reads: 0 }
  const server = createServer((incoming, answer) => {
    const write = isWrite(incoming)
    counts[write ? 'writes' : 'reads']++
    forward(incoming, answer, write ? writes : reads)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('a TCP server has no port')
  return {
    address: `127.0.0.1:${bound.port}`,
    counts,
    stop: () => {
      server.close()
      server.closeAllConnections()
    }
  }
}

function isWrite({ method = '', url = '' }: IncomingMessage): boolean {
  return !['GET', 'HEAD'].includes(method) || /\/blobs\/uploads\//.test(url)
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
