import type { Socket } from 'node:net'

// What attackers do on a connection, for tests and benchmarks alike.

/** What is attacked. */
export interface Target {
  /** Paths of a manifest, a list, a blob, and a manifest that an upstream never answers for. */
  manifest: string
  list: string
  blob: string
  silent: string
  /** The name of the repository that is pushed to. */
  pushed: string
  /** The `Authorization` of a user that may pull and push; undefined where anonymous may. */
  authorization: string | undefined
}

/** What one attacker does. */
export interface Attacker {
  target: Target
  /** From 0 up to but without 1. */
  random(): number
}

/** The behaviour of an attacker on a connection that was just opened; what it starts ends with the connection. */
export type Shape = (socket: Socket, attacker: Attacker) => void

const kib = 1024
const chunk = 64 * kib
const floodEveryMs = 20
const mostUnsent = 1024 * kib

/** The head of a request without a body. */
function get(path: string, authorization: string | undefined): string {
  return requestOf('GET', path, authorization)
}

function requestOf(method: string, path: string, authorization: string | undefined, fields: readonly string[] = []): string {
  const all = authorization === undefined ? fields : [`Authorization: ${authorization}`, ...fields]
  return [`${method} ${path} HTTP/1.1`, 'Host: registry', ...all, '', ''].join('\r\n')
}

/** An `Authorization` of Basic. */
export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

/** Sends a request as often as the connection takes it, and reads what comes. */
function pipeline(socket: Socket, request: string): void {
  const bytes = request.repeat(Math.ceil(chunk / request.length))
  socket.resume()
  repeat(socket, floodEveryMs, () => {
    if (socket.writableLength < mostUnsent) socket.write(bytes)
  })
}

function repeat(socket: Socket, everyMs: number, turn: () => void): void {
  const timer = setInterval(turn, everyMs)
  socket.once('close', () => clearInterval(timer))
  turn()
}

/** Sends requests without end, and never reads. */
function askWithoutReading(socket: Socket, request: string): void {
  socket.pause()
  socket.write(request.repeat(200))
}

/** The shapes by name. */
export const shapes = {
  /** Pipelines requests with one wrong password. */
  wrongPasswords: (socket, { random }) => pipeline(socket, get('/v2/', basic('puller', `wrong-${Math.floor(random() * 4)}`))),

  /** Pipelines requests that wait for an upstream. */
  silentUpstream: (socket, { target }) => pipeline(socket, get(target.silent, target.authorization)),

  /** Asks for nothing. */
  idle: socket => void socket.resume(),

  /** Asks for manifests, and never reads. */
  unreadManifests: (socket, { target }) => askWithoutReading(socket, get(target.manifest, target.authorization)),

  /** Asks for lists, and never reads. */
  unreadLists: (socket, { target }) => askWithoutReading(socket, get(target.list, target.authorization)),

  /** Asks for a blob, and never reads. */
  unreadBlob: (socket, { target }) => void socket.pause().write(get(target.blob, target.authorization)),

  /** Reads one byte of a blob a second. */
  sip(socket, { target }) {
    socket.pause().write(get(target.blob, target.authorization))
    repeat(socket, 1000, () => void socket.read(1))
  },

  /** Leaves in the middle of a blob. */
  leave(socket, { target, random }) {
    const limit = 1 + random() * 512 * kib
    let received = 0
    socket.on('data', bytes => {
      received += bytes.length
      if (received >= limit) socket.destroy()
    })
    socket.write(get(target.blob, target.authorization))
  },

  /** Begins to push a manifest of 4 MiB, and sends all but the end. */
  unfinishedManifest(socket, { target, random }) {
    const tag = `unfinished-${Math.floor(random() * 1e9)}`
    const fields = [`Content-Length: ${4096 * kib}`, 'Content-Type: application/vnd.oci.image.manifest.v1+json']
    socket.resume()
    socket.write(requestOf('PUT', `/v2/${target.pushed}/manifests/${tag}`, target.authorization, fields))
    socket.write(Buffer.alloc(4000 * kib, ' '))
  },

  /** Is refused at once, and goes on sending the body, a byte now and then. */
  trickledBody(socket, { target }) {
    socket.resume()
    socket.write(requestOf('PUT', `/v2/${target.pushed}/manifests/BAD:TAG`, target.authorization, ['Content-Length: 1000000']))
    repeat(socket, 200, () => void socket.write('x'))
  },

  /** Tries passwords of made-up users and of one that exists, each after the answer to the last. */
  neighbour(socket, { random }) {
    const next = () => {
      const user = random() < 0.5 ? 'puller' : `user-${Math.floor(random() * 1e6)}`
      socket.write(get('/v2/', basic(user, `${random()}`)))
    }
    socket.on('data', next)
    next()
  }
} satisfies Record<string, Shape>

/** The name of a shape. */
export type ShapeName = keyof typeof shapes
