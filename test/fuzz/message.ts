import type { Arbitrary } from 'fast-check'
import { boolean, constantFrom, nat, oneof, option, tuple, uint8Array } from 'fast-check'

/** A request before it is bytes. */
export interface FuzzRequest {
  method: string
  target: string
  headers: [name: string, value: string][]
  body: Uint8Array
  framing: 'length' | 'chunked'
}

/** A request as bytes. */
export function encode({ method, target, headers, body, framing }: FuzzRequest): Buffer {
  const lines = [`${method} ${target} HTTP/1.1`, 'host: 127.0.0.1', ...headers.map(([name, value]) => `${name}: ${value}`)]
  if (body.length === 0) return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  if (framing === 'length')
    return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\ncontent-length: ${body.length}\r\n\r\n`, 'latin1'), body])
  const head = Buffer.from(`${lines.join('\r\n')}\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`, 'latin1')
  return Buffer.concat([head, body, Buffer.from('\r\n0\r\n\r\n')])
}

/** Where a failing request would be seen in a report. */
export function show(request: FuzzRequest): string {
  return encode(request).toString('latin1').slice(0, 2000)
}

/** Bytes that are mostly not HTTP: requests with a piece replaced, cut out, doubled or broken off. */
export function garbage(requests: Arbitrary<FuzzRequest>): Arbitrary<Buffer> {
  const piece = oneof(
    constantFrom(
      '\r\n',
      '\n',
      '\r',
      '\0',
      ' ',
      ':',
      'HTTP/1.0',
      'HTTP/2.0',
      'HTTP/9.9',
      'content-length: -1\r\n',
      'content-length: 5\r\ncontent-length: 6\r\n'
    ),
    constantFrom(
      'transfer-encoding: chunked, gzip\r\n',
      'transfer-encoding: gzip\r\n',
      'transfer-encoding: xchunked\r\ncontent-length: 3\r\n',
      'upgrade: h2c\r\nconnection: upgrade\r\n'
    ),
    constantFrom(
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\x16\x03\x01\x02\x00',
      'CONNECT a:1 HTTP/1.1\r\n\r\n',
      'host: x\r\nhost: y\r\n',
      `x: ${'y'.repeat(20_000)}\r\n`,
      'ffffffffffffffff\r\n'
    ),
    uint8Array({ maxLength: 30 }).map(bytes => Buffer.from(bytes).toString('latin1'))
  )
  const damage = tuple(requests, nat(), nat(60), option(piece), boolean())
  return damage.map(([request, at, length, inserted, broken]) => {
    // Whether an answer has a body must not depend on what the registry made of the method.
    const sound = encode({ ...request, method: request.method === 'HEAD' ? 'GET' : request.method })
    const from = at % sound.length
    const rest = broken ? Buffer.alloc(0) : sound.subarray(Math.min(sound.length, from + length))
    return Buffer.concat([sound.subarray(0, from), Buffer.from(inserted ?? '', 'latin1'), rest])
  })
}
