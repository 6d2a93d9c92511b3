import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect, createServer } from 'node:net'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

/** A slow line to a server: every connection through it gives its client so many bytes a second. */
export interface Relay {
  /** `127.0.0.1:port` */
  readonly address: string
  /** Bytes a second; may be changed while connections are open. */
  rate: number
  /** Bytes that clients have received. */
  readonly passed: number
}

// Sent in one piece at most, so that a changed rate is felt at once.
const piece = 16 * 1024

/** Starts a relay to `target` (`host:port`); it ends with the test. */
export async function startRelay(t: Test, target: string, rate: number): Promise<Relay> {
  const relay = { address: '', rate, passed: 0 }
  const open = new Set<Socket>()
  // Half open: what was sent before a side ended may still be on its way to the other.
  const server = createServer({ allowHalfOpen: true }, client => {
    const { hostname, port } = new URL(`tcp://${target}`)
    const upstream = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
    }
    // Either side may leave at any time.
    pipeline(client, upstream).catch(() => client.destroy())
    pipeline(upstream, slow(relay), client).catch(() => upstream.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('a TCP server has no port')
  relay.address = `127.0.0.1:${bound.port}`
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return relay
}

function slow(relay: { rate: number; passed: number }): Transform {
  return new Transform({
    async transform(chunk: Buffer, _encoding, done) {
      for (let at = 0; at < chunk.length; at += piece) {
        const part = chunk.subarray(at, at + piece)
        if (Number.isFinite(relay.rate)) await sleep((part.length / relay.rate) * 1000)
        relay.passed += part.length
        this.push(part)
      }
      done()
    }
  })
}
