import { connect } from 'node:net'
import type { Server } from './servers/server.ts'
import type { Load, Rate } from './wrk.ts'

// wrk waits for the body that Content-Length announces, and the answer to HEAD has none.

/** HEAD requests as fast as they are answered, over plain HTTP; rejects at any answer that is not 200. */
export async function runHeads({ name, address }: Server, { path, accept, connections, seconds }: Load): Promise<Rate> {
  const times: number[] = []
  const request = `HEAD ${path} HTTP/1.1\r\nHost: ${address}\r\nAccept: ${accept}\r\n\r\n`
  const began = performance.now()
  const deadline = began + seconds * 1000
  await Promise.all(Array.from({ length: connections }, () => ask({ name, address, request, deadline, times })))
  const took = (performance.now() - began) / 1000
  times.sort((a, b) => a - b)
  return { requestsPerSecond: times.length / took, p50: at(times, 0.5), p99: at(times, 0.99) }
}

interface Asking {
  name: string
  address: string
  request: string
  deadline: number
  times: number[]
}

function ask({ name, address, request, deadline, times }: Asking): Promise<void> {
  const [host = '', port] = address.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), noDelay: true })
    let sent = performance.now()
    let head = ''
    const next = () => {
      sent = performance.now()
      if (sent < deadline) socket.write(request)
      else socket.destroy()
    }
    socket.once('connect', next)
    socket.on('data', chunk => {
      head += chunk.toString('latin1')
      if (!head.endsWith('\r\n\r\n')) return
      times.push(performance.now() - sent)
      if (!head.startsWith('HTTP/1.1 200 ')) return void socket.destroy(new Error(`${name} answered HEAD with ${head}`))
      head = ''
      next()
    })
    socket.once('error', reject)
    socket.once('close', () => (performance.now() < deadline ? reject(new Error(`${name} closed the connection`)) : resolve()))
  })
}

/** A quantile of sorted numbers. */
export function at(sorted: readonly number[], quantile: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))] ?? Number.NaN
}
