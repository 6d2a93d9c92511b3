import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

// A process of its own, started by bystander.ts: crowd.ts HOST PORT PATH BAD IDLE. It says "ready" when all of them are there, and goes on until it is ended.

const [host = '', port, path = '', bad, idle] = process.argv.slice(2)
const half = 512 * 1024
const again = 1000

/** Reads one byte a second. */
async function sip(): Promise<void> {
  const socket = await ask()
  socket.pause()
  for (;;) {
    socket.read(1)
    await sleep(1000)
  }
}

/** Never reads. */
async function ignore(): Promise<void> {
  const socket = await ask()
  socket.pause()
}

/** Leaves in the middle, and comes again. */
async function leave(): Promise<void> {
  for (;;) {
    const socket = await ask()
    let received = 0
    socket.on('data', chunk => {
      received += chunk.length
      if (received >= half) socket.destroy()
    })
    await new Promise(resolve => socket.once('close', resolve))
    await sleep(again)
  }
}

async function ask(): Promise<Socket> {
  const socket = await open()
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  return socket
}

// A server may close what makes no progress; the crowd does not mind.
function open(): Promise<Socket> {
  const socket = connect({ host, port: Number(port) })
  socket.on('error', () => {})
  return new Promise((resolve, reject) => {
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
  })
}

const ways = [sip, ignore, leave]
for (let count = 0; count < Number(idle); count++) await open()
for (let count = 0; count < Number(bad); count++) void ways[count % ways.length]?.()
await sleep(500)
process.stdout.write('ready\n')
await sleep(600_000)
