import { connect } from 'node:net'
import type { Server } from './servers/server.ts'

/** A piece of a blob, asked for without an end. */
export interface Piece {
  path: string
  from: number
  /** Bytes after which the client closes the connection. */
  length: number
}

const buffer = Buffer.allocUnsafeSlow(1024 * 1024)

/** Gets a piece as containerd 2.1 and newer do: an open-ended range on a connection of its own, closed early. Plain HTTP only. */
export function getPiece({ name, address }: Server, { path, from, length }: Piece): Promise<void> {
  const [host = '', port] = address.split(':')
  return new Promise((resolve, reject) => {
    let head = ''
    let body = -1
    const callback = (received: number) => {
      if (body >= 0) body += received
      else {
        head += buffer.toString('latin1', 0, received)
        const end = head.indexOf('\r\n\r\n')
        if (end >= 0) body = head.length - end - 4
      }
      if (body >= length) socket.destroy()
      return true
    }
    const socket = connect({ host, port: Number(port), onread: { buffer, callback } })
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\nRange: bytes=${from}-\r\n\r\n`)
    socket.once('error', reject)
    socket.once('end', () => socket.destroy())
    socket.once('close', () => {
      const whole = /^HTTP\/1.1 206 /.test(head) && new RegExp(`^content-range: bytes ${from}-`, 'im').test(head) && body >= length
      if (whole) resolve()
      else reject(new Error(`${name} sent ${body} of ${length} bytes from ${from}:\n${head.slice(0, 500)}`))
    })
  })
}
