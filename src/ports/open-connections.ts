import type { IncomingMessage, OutgoingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import { type ClosableConnections, type CountedConnection, closableConnections } from './idle-connections.ts'

/** Why a port closed a connection: for a new one, or since its client does not read a response. */
export type ClosedFor = 'idle' | 'unread'

/** What a port does with its connections. */
export interface ConnectionOptions {
  max: number
  /** A client that reads less than `bytes` of a response within `perMs` is disconnected; undefined: none is. */
  unread?: { bytes: number; perMs: number } | undefined
  /** The address or network that a connection counts for, of its remote address. */
  keyOf?: ((address: string) => string) | undefined
  /** The address of the client that the peer of a request with `X-Forwarded-For` speaks for. */
  speaksFor?: ((request: IncomingMessage) => string | undefined) | undefined
  onClosed?: ((address: string, reason: ClosedFor) => void) | undefined
  /** A connection was refused: all are in use. */
  onRefused?: ((address: string) => void) | undefined
  now?: () => number
}

// A search looks at every connection: not for each new one.
const searchAgainMs = 100

/** The open connections of a port. */
export class OpenConnections {
  readonly #options: ConnectionOptions
  readonly #now: () => number
  readonly #open = new Set<Connection>()
  readonly #ofSocket = new WeakMap<Socket, Connection>()
  readonly #byRemote = new Map<string, Connection>()
  #found: ClosableConnections<Connection> | undefined
  #searchedAtMs = Number.NEGATIVE_INFINITY
  #fruitful = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** Has the server accept connections within the limit. Call before any of its other listeners is added. */
  attach(server: Server): void {
    // Before Node's own listeners, which make a parser or a TLS socket of each connection.
    const listeners = server.listeners('connection')
    server.removeAllListeners('connection')
    server.on('connection', (socket: Socket) => {
      if (!this.#accept(socket)) return void socket.destroy()
      for (const listener of listeners) listener.call(server, socket)
    })
    server.on('secureConnection', (socket: Socket) => {
      const connection = this.#byRemote.get(remoteOf(socket))
      if (!connection) return
      connection.http = socket
      this.#ofSocket.set(socket, connection)
    })
    const { unread } = this.#options
    if (!unread) return
    const timer = setInterval(() => this.closeUnread(), unread.perMs / 5).unref()
    server.on('close', () => clearInterval(timer))
  }

  /** Notes that a request begins. */
  begin(request: IncomingMessage): void {
    const connection = this.#ofSocket.get(request.socket)
    if (!connection) return
    connection.usedAtMs = this.#now()
    if (request.headers['x-forwarded-for'] === undefined) return
    const client = this.#options.speaksFor?.(request)
    if (client !== undefined) this.#move(connection, this.#keyOf(client))
  }

  /** The connection as it was accepted, of a socket that speaks TLS over it. */
  acceptedSocket(socket: Socket): Socket | undefined {
    return this.#byRemote.get(remoteOf(socket))?.accepted
  }

  /** Closes the connections whose clients do not read; called by a timer. */
  closeUnread(): void {
    const { unread } = this.#options
    if (!unread) return
    const now = this.#now()
    for (const connection of this.#open) {
      if (connection.reads(unread, now)) continue
      this.#close(connection, 'unread')
    }
  }

  #accept(socket: Socket): boolean {
    const key = this.#keyOf(socket.remoteAddress ?? '')
    if (this.#open.size >= this.#options.max && !this.#closeFor(key)) {
      this.#options.onRefused?.(socket.remoteAddress ?? '')
      return false
    }
    const connection = new Connection(socket, key, this.#now())
    const remote = remoteOf(socket)
    this.#open.add(connection)
    this.#ofSocket.set(socket, connection)
    this.#byRemote.set(remote, connection)
    socket.once('close', () => {
      this.#open.delete(connection)
      if (this.#byRemote.get(remote) === connection) this.#byRemote.delete(remote)
    })
    return true
  }

  #closeFor(key: string): boolean {
    const now = this.#now()
    if (now - this.#searchedAtMs >= searchAgainMs) this.#search(now, key)
    let connection = this.#nextClosable(key)
    if (!connection && this.#fruitful && this.#found?.closable.length === 0) {
      this.#search(now, key)
      connection = this.#nextClosable(key)
    }
    this.#fruitful = connection !== undefined
    if (connection) this.#close(connection, 'idle')
    return connection !== undefined
  }

  #search(nowMs: number, newKey: string): void {
    for (const connection of this.#open) if (!connection.idle) connection.usedAtMs = nowMs
    this.#found = closableConnections(this.#open, { max: this.#options.max, newKey, nowMs })
    this.#searchedAtMs = nowMs
  }

  #move(connection: Connection, key: string): void {
    if (connection.key === key) return
    const counts = this.#found?.counts
    counts?.set(connection.key, Math.max(0, (counts.get(connection.key) ?? 0) - 1))
    counts?.set(key, (counts.get(key) ?? 0) + 1)
    connection.key = key
  }

  #nextClosable(key: string): Connection | undefined {
    if (!this.#found) return undefined
    const { closable, counts } = this.#found
    const count = (counts.get(key) ?? 0) + 1
    const share = this.#options.max / (counts.size + (counts.has(key) ? 0 : 1))
    for (let next = closable.at(-1); next; next = closable.at(-1)) {
      const { connection, usedAtMs, young } = next
      const stale = !this.#open.has(connection) || !connection.idle || connection.usedAtMs !== usedAtMs
      if (!stale && young && count > share) return undefined
      closable.pop()
      if (stale) continue
      counts.set(key, count)
      return connection
    }
    return undefined
  }

  #close(connection: Connection, reason: ClosedFor): void {
    const address = connection.accepted.remoteAddress ?? ''
    // A connection ends some turns of the event loop later.
    this.#open.delete(connection)
    connection.accepted.destroy()
    this.#options.onClosed?.(address, reason)
  }

  #keyOf(address: string): string {
    return this.#options.keyOf?.(address) ?? address
  }
}

class Connection implements CountedConnection {
  readonly accepted: Socket
  /** What HTTP is spoken over: the TLS socket once its handshake is done. */
  http: Socket
  key: string
  usedAtMs: number
  /** The beginning of the time in which too little was read, and the bytes read before it. */
  #blocked: { sinceMs: number; bytes: number } | undefined

  constructor(accepted: Socket, key: string, nowMs: number) {
    this.accepted = accepted
    this.http = accepted
    this.key = key
    this.usedAtMs = nowMs
  }

  get idle(): boolean {
    // Node's server puts the response there that is the next to be sent.
    return !(this.http as { _httpMessage?: OutgoingMessage | null })._httpMessage
  }

  /** Whether the client reads at least so much of what is being sent to it; called at intervals. */
  reads({ bytes, perMs }: { bytes: number; perMs: number }, nowMs: number): boolean {
    if (this.http.writableLength === 0) {
      this.#blocked = undefined
      return true
    }
    const read = this.http.bytesWritten - queuedBytes(this.accepted)
    if (!this.#blocked || read - this.#blocked.bytes >= bytes) this.#blocked = { sinceMs: nowMs, bytes: read }
    return nowMs - this.#blocked.sinceMs < perMs
  }
}

// Written, and not yet taken by the kernel. Of one large write it is the only sign of progress.
function queuedBytes(socket: Socket): number {
  return (socket as { _handle?: { writeQueueSize?: number } | null })._handle?.writeQueueSize ?? 0
}

function remoteOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
