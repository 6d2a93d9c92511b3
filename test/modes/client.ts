import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A pull that has ended. */
export interface Pulled {
  status: number
  headers: IncomingHttpHeaders
  bytes: number
  digest: string
  /** Whether the body ended as HTTP wants it to. */
  complete: boolean
  /** From the request, in ms. */
  head: number
  firstByte: number
  all: number
  /** The longest time without a byte, once the head was there, in ms. */
  pause: number
}

/** How a client behaves. */
export interface Manner {
  headers?: Record<string, string>
  bytesPerSecond?: number
  /** It closes its connection after so many bytes. */
  leaveAfter?: number
  onHead?: () => void
  /** Called for each piece of the body, with what has come so far. */
  onBytes?: (bytes: number) => void
}

/** Pulls over a connection of its own; bytes are counted and thrown away. */
export async function pull(address: string, path: string, manner: Manner = {}): Promise<Pulled> {
  const began = performance.now()
  const since = () => performance.now() - began
  const [host, port] = address.split(':')
  const outgoing = request({ host, port, path, agent: false, headers: manner.headers ?? {} })
  outgoing.end()
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  const head = since()
  manner.onHead?.()
  const seen = await readBody(response, manner, since)
  return { status: response.statusCode ?? 0, headers: response.headers, head, ...seen, all: since() }
}

async function readBody(response: IncomingMessage, { bytesPerSecond, leaveAfter, onBytes }: Manner, since: () => number) {
  const hash = createHash('sha256')
  const began = since()
  let [bytes, firstByte, complete, pause, last] = [0, 0, false, 0, began]
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      const now = since()
      firstByte ||= now
      pause = Math.max(pause, now - last)
      last = now
      bytes += chunk.length
      hash.update(chunk)
      onBytes?.(bytes)
      if (leaveAfter !== undefined && bytes >= leaveAfter) break
      if (bytesPerSecond !== undefined) await sleep(Math.max(0, (bytes / bytesPerSecond) * 1000 - (since() - began)))
    }
    complete = response.complete
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error
  }
  response.destroy()
  return { bytes, firstByte, complete, pause, digest: `sha256:${hash.digest('hex')}` }
}

/** A pull seen from below HTTP: the bytes of its body, and whether the connection ended by FIN or by a reset. */
export async function pullRaw(address: string, path: string): Promise<{ head: string; bytes: number; end: 'fin' | 'reset' }> {
  const [host, port] = address.split(':')
  const socket = connect({ host: host ?? '', port: Number(port) })
  const chunks: Buffer[] = []
  let end: 'fin' | 'reset' = 'fin'
  socket.on('data', chunk => chunks.push(chunk))
  socket.on('error', () => {
    end = 'reset'
  })
  socket.write(`GET ${path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n`)
  await once(socket, 'close')
  const all = Buffer.concat(chunks)
  const split = all.indexOf('\r\n\r\n')
  return { head: all.subarray(0, split).toString('latin1'), bytes: all.length - split - 4, end }
}
