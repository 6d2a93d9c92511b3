import type { Socket } from 'node:net'
import { connect } from 'node:net'
import type { Server } from '../long/server.ts'

/** Clients that all behave badly in the same way. */
export interface Crowd {
  /** They close their connections; resolves when all are closed. */
  leave(): Promise<void>
}

/** So many clients that ask for `path` and never read, or read one byte a second. */
export async function gather(server: Server, count: number, behaviour: 'never' | 'sip', path: string): Promise<Crowd> {
  const sockets = await connectAll(server, count)
  for (const socket of sockets) socket.pause().write(get(server, path))
  const timer = setInterval(() => {
    if (behaviour === 'sip') for (const socket of sockets) socket.read(1)
  }, 1000)
  return {
    leave: async () => {
      clearInterval(timer)
      await closeAll(sockets)
    }
  }
}

/** So many connections over which nothing is asked. */
export async function occupy(server: Server, count: number): Promise<Crowd> {
  const sockets = await connectAll(server, count)
  return { leave: () => closeAll(sockets) }
}

/** Clients that have read so many bytes of what they asked for, and others that have sent half of so many bytes; now they do no more. */
export async function stopHalfWay(
  server: Server,
  pulls: { paths: readonly string[]; bytes: number },
  pushes: { paths: readonly string[]; bytes: number }
): Promise<Crowd> {
  const sockets = await Promise.all([
    ...pulls.paths.map(path => beginPull(server, path, pulls.bytes)),
    ...pushes.paths.map(path => beginPush(server, path, pushes.bytes))
  ])
  return { leave: () => closeAll(sockets) }
}

async function beginPull(server: Server, path: string, bytes: number): Promise<Socket> {
  const socket = await open(server)
  socket.write(get(server, path))
  let received = 0
  return await new Promise((resolve, reject) => {
    socket.once('close', () => reject(new Error(`the answer ended after ${received} bytes`)))
    socket.on('data', chunk => {
      received += chunk.length
      if (received >= bytes) resolve(socket.pause())
    })
  })
}

async function beginPush(server: Server, path: string, bytes: number): Promise<Socket> {
  const socket = await open(server)
  socket.write(`PATCH ${path} HTTP/1.1\r\nHost: ${server.address}\r\nContent-Length: ${bytes}\r\n\r\n`)
  await new Promise(resolve => socket.write(Buffer.alloc(bytes / 2), resolve))
  return socket
}

function get(server: Server, path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${server.address}\r\n\r\n`
}

async function connectAll(server: Server, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  // Not all in one moment: the kernel keeps only so many that nobody has accepted yet.
  while (sockets.length < count) {
    const some = Math.min(100, count - sockets.length)
    sockets.push(...(await Promise.all(Array.from({ length: some }, () => open(server)))))
  }
  return sockets
}

function open(server: Server): Promise<Socket> {
  const [host = '', port] = server.address.split(':')
  const socket = connect({ host, port: Number(port) })
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', () => {
      // The registry may close whoever makes no progress.
      socket.off('error', reject).on('error', () => {})
      resolve(socket)
    })
  })
}

async function closeAll(sockets: readonly Socket[]): Promise<void> {
  await Promise.all(
    sockets.map(socket => {
      if (socket.closed) return undefined
      const closed = new Promise(resolve => socket.once('close', resolve))
      socket.destroy()
      return closed
    })
  )
}
