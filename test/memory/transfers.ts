import { createHash } from 'node:crypto'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { request as plain } from 'node:http'
import { request as secure } from 'node:https'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'

/** Where transfers go. */
export interface Target {
  /** `127.0.0.1:<port>` */
  address: string
  /** The authority that signed the registry's certificate, in PEM; without one it speaks plain HTTP. */
  ca?: Buffer
}

// Nobody looks at what arrives, so that all pulls share one buffer.
const sink = Buffer.allocUnsafeSlow(1024 * 1024)

/** Pulls a blob and throws it away; resolves to the bytes of the body once the registry has closed the connection. */
export function pull(target: Target, path: string): Promise<number> {
  const [host = '', port = ''] = target.address.split(':')
  return new Promise((resolve, reject) => {
    let head = ''
    let body = 0
    const callback = (length: number) => {
      if (body > 0) body += length
      else {
        head += sink.toString('latin1', 0, length)
        const end = head.indexOf('\r\n\r\n')
        if (end >= 0) body = head.length - end - 4
      }
      return true
    }
    const options = { host, port: Number(port), onread: { buffer: sink, callback } }
    const socket = target.ca === undefined ? connect(options) : connectTls({ ...options, ca: target.ca })
    socket.write(`GET ${path} HTTP/1.1\r\nhost: ${target.address}\r\nconnection: close\r\n\r\n`)
    socket.once('error', reject)
    socket.once('end', () => socket.end())
    socket.once('close', () => (head.startsWith('HTTP/1.1 200 ') ? resolve(body) : reject(new Error(`the registry answered ${head}`))))
  })
}

/** Content of any size that is made of one block: the first bytes make it differ from the others. */
export interface Content {
  first: Buffer
  block: Buffer
  size: number
}

/** Its digest. The block is not held more than once. */
export function digestOf(content: Content): string {
  const hash = createHash('sha256')
  for (const chunk of chunks(content)) hash.update(chunk)
  return `sha256:${hash.digest('hex')}`
}

function* chunks({ first, block, size }: Content): Iterable<Buffer> {
  yield first
  for (let left = size - first.length; left > 0; left -= block.length) yield left < block.length ? block.subarray(0, left) : block
}

/** Pushes content with POST and PUT; resolves to the status of the last answer. */
export async function push(target: Target, name: string, content: Content, digest: string): Promise<number> {
  const started = await send(target, { method: 'POST', path: `/v2/${name}/blobs/uploads/`, headers: { 'content-length': '0' } })
  const path = `${started.headers.location}?digest=${digest}`
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(content.size) }
  return (await send(target, { method: 'PUT', path, headers }, content)).statusCode ?? 0
}

async function send(target: Target, options: RequestOptions, content?: Content): Promise<IncomingMessage> {
  const [host = '', port = ''] = target.address.split(':')
  const all = { ...options, host, port, agent: false }
  const request = target.ca === undefined ? plain(all) : secure({ ...all, ca: target.ca })
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('error', reject)
    request.once('response', response => {
      response.resume()
      response.once('error', reject)
      response.once('end', () => resolve(response))
    })
  })
  // Awaited below; a failure while the body is being written must not count as unhandled.
  answered.catch(() => {})
  for (const chunk of content ? chunks(content) : []) {
    if (request.destroyed || request.write(chunk)) continue
    await Promise.race([new Promise(resolve => request.once('drain', resolve)), answered])
  }
  request.end()
  return await answered
}
