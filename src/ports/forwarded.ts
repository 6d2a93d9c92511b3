import type { IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { certificateName } from './tls.ts'

const names = new WeakMap<Socket, string | undefined>()

/** The verified common name of a connection's client certificate; read once per connection. */
export function verifiedName(socket: Socket): string | undefined {
  if (!names.has(socket)) names.set(socket, certificateName(socket))
  return names.get(socket)
}

/** Whether the peer is on this machine. */
export function isLoopback({ remoteAddress = '' }: Socket): boolean {
  return remoteAddress === '::1' || /^(::ffff:)?127\./.test(remoteAddress)
}

/** Whether the peer is a forwarder: its verified certificate name is in `forwarders`. */
export function isForwarder({ socket }: IncomingMessage, forwarders: readonly string[]): boolean {
  if (forwarders.length === 0) return false
  const name = verifiedName(socket)
  return name !== undefined && forwarders.includes(name)
}

/**
 * The client's address. `X-Forwarded-For` counts only from a forwarder, and only its last address does: the forwarder
 * added that one, while the client can forge all others.
 */
export function clientAddress(request: IncomingMessage, forwarders: readonly string[]): string {
  const { socket, headers } = request
  const peer = socket.remoteAddress ?? 'unknown'
  if (headers['x-forwarded-for'] === undefined || !isForwarder(request, forwarders)) return peer
  return forwardedAddress(request) ?? peer
}

/** The last address of `X-Forwarded-For`, whether it can be believed or not. */
export function forwardedAddress({ headers }: IncomingMessage): string | undefined {
  const last = [headers['x-forwarded-for'] ?? ''].flat().join(',').split(',').at(-1)?.trim() ?? ''
  return isIP(last) ? last : undefined
}
