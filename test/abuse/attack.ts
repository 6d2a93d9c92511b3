import { once } from 'node:events'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Test } from 'tap'
import { answerParserError, createPort, type PortLimits } from '../../src/ports/listen.ts'
import { Wire } from '../src/api/wire.ts'

const hour = 3_600_000

/** A port over a listener of the test. */
export async function openPort(
  t: Test,
  listener: RequestListener,
  { tls, ...limits }: Partial<PortLimits> & { tls?: Parameters<typeof createPort>[1] } = {}
): Promise<{ server: Server; address: string }> {
  return await listening(t, createPort(listener, tls, { maxConnections: 1_000, headTimeoutMs: hour, ...limits }))
}

/** Has a server listen until the test ends. */
export async function listening(t: Test, server: Server): Promise<{ server: Server; address: string }> {
  server.on('clientError', answerParserError)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, address: `127.0.0.1:${(server.address() as AddressInfo).port}` }
}

/** `count` pipelined requests as bytes. */
export function pipelined(count: number, line = 'GET /v2/', fields: readonly string[] = []): string {
  return [`${line} HTTP/1.1`, 'Host: r', ...fields, '', ''].join('\r\n').repeat(count)
}

/** A connection on which `bytes` are being sent, whether they are taken or not. */
export async function flood(t: Test, address: string, bytes: string): Promise<Wire> {
  const wire = await Wire.dial(t, address)
  wire.socket.write(bytes)
  return wire
}

/** Lets everything that was sent on the loopback interface be read: a request on another connection has its answer. */
export async function settle(ask: () => Promise<unknown>): Promise<void> {
  for (let turns = 0; turns < 20; turns++) {
    await ask()
    await new Promise(setImmediate)
  }
}

/** Bytes of live objects. */
export function liveHeapBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  collect()
  return process.memoryUsage().heapUsed
}
