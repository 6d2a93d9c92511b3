import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type ShapeName, shapes, type Target } from './shapes.ts'

/** Attackers of one shape. */
export interface Attackers {
  /** Connections that are open now. */
  readonly open: number
  /** They close their connections and come no more; resolves when all are closed. */
  leave(): Promise<void>
}

/** How a crowd attacks. */
export interface Attack {
  shape: ShapeName
  count: number
  /** `<host>:<port>` */
  address: string
  /** Over TLS, whose certificate is not verified. */
  tls?: boolean
  /** Whether an attacker comes again whose connection was refused or closed; it does unless told. */
  again?: boolean
  /** The loopback address that each connects from. */
  from?: (at: number) => string
  target: Target
  random(): number
}

const againMs = 250

/** Begins an attack. */
export function attack({ shape, count, address, tls = false, again = true, from, target, random }: Attack): Attackers {
  const sockets = new Set<Socket>()
  const timers = new Set<NodeJS.Timeout>()
  let isOver = false

  function come(at: number): void {
    const [host = '', port] = address.split(':')
    const local = from?.(at)
    const options = { host, port: Number(port), ...(local === undefined ? {} : { localAddress: local }) }
    const socket = tls ? connectTls({ ...options, rejectUnauthorized: false }) : connect(options)
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once(tls ? 'secureConnect' : 'connect', () => shapes[shape](socket, { target, random }))
    socket.once('close', () => {
      sockets.delete(socket)
      if (isOver || !again) return
      const timer = setTimeout(() => {
        timers.delete(timer)
        come(at)
      }, againMs)
      timers.add(timer)
    })
  }

  for (let at = 0; at < count; at++) come(at)
  return {
    get open() {
      return sockets.size
    },
    async leave() {
      isOver = true
      for (const timer of timers) clearTimeout(timer)
      const closed = [...sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
      for (const socket of sockets) socket.destroy()
      await Promise.all(closed)
    }
  }
}
