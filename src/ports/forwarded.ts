import type { IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { certificateName } from './tls.ts'

const names = new WeakMap<Socket, string | undefined>()

/** The verified common name of a connection's client certificate; read once per connection. */
export function verifiedName(socket: Socket): string | undefined {
  if (!names.has(socket)) names.set(socket, certificateName(socket))
  return names.get(socket)
}

/**
 * The client's address. `X-Forwarded-For` counts only from a peer whose verified certificate name is in `forwarders`,
 * and only its last address does: the forwarder added that one, while the client can forge all others.
 */
export function clientAddress({ socket, headers }: IncomingMessage, forwarders: readonly string[]): string {
  const peer = socket.remoteAddress ?? 'unknown'
  const field = headers['x-forwarded-for']
  if (field === undefined || forwarders.length === 0) return peer
  const name = verifiedName(socket)
  if (name === undefined || !forwarders.includes(name)) return peer
  const last = [field].flat().join(',').split(',').at(-1)?.trim() ?? ''
  return isIP(last) ? last : peer
}
