/** Where a body ends (RFC 9112 §6.3): after so many bytes, after the last chunk, or with the connection. */
export type Framing = number | 'chunked' | 'close'

/** The head of a response. Names of fields are in lower case, repeated fields are joined by `, `. */
export interface HttpHead {
  status: number
  fields: Record<string, string>
  framing: Framing
  /** Whether the connection can be used again after the body. */
  keepAlive: boolean
}

/** What was received is not valid HTTP/1.1, or not a response to the request. */
export class HttpProtocolError extends Error {
  readonly code = 'EPROTO'
}

/** Parses a head without the empty line at its end (RFC 9112 §4, §5); throws HttpProtocolError. */
export function parseHead(text: string): HttpHead {
  const [first = '', ...lines] = text.split('\r\n')
  const [, minor, digits] = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: .*)?$/.exec(first) ?? []
  if (minor === undefined) throw new HttpProtocolError(`the response begins with ${JSON.stringify(first.slice(0, 64))}`)
  const status = Number(digits)
  const fields = parseFields(lines)
  const framing = framingOf(status, fields)
  const options = (fields['connection'] ?? '').toLowerCase().split(/[ \t]*,[ \t]*/)
  const persistent = minor === '1' ? !options.includes('close') : options.includes('keep-alive')
  // With both, a response could be smuggled into this one (RFC 9112 §6.3).
  const unambiguous = framing !== 'close' && !('transfer-encoding' in fields && 'content-length' in fields)
  return { status, fields, framing, keepAlive: persistent && unambiguous }
}

function parseFields(lines: readonly string[]): Record<string, string> {
  const fields: Record<string, string> = Object.create(null)
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined)
      throw new HttpProtocolError(`the response has a field ${JSON.stringify(line.slice(0, 64))}`)
    const key = name.toLowerCase()
    const before = fields[key]
    if (key === 'content-length' && before !== undefined && before !== value) throw new HttpProtocolError('the response has two lengths')
    fields[key] = before === undefined || key === 'content-length' ? value : `${before}, ${value}`
  }
  return fields
}

function framingOf(status: number, fields: Record<string, string>): Framing {
  if (status === 204 || status === 304) return 0
  const coding = fields['transfer-encoding']
  if (coding !== undefined) return coding.toLowerCase() === 'chunked' ? 'chunked' : 'close'
  const length = fields['content-length']
  if (length === undefined) return 'close'
  if (!/^[0-9]{1,15}$/.test(length)) throw new HttpProtocolError(`the response has a length ${JSON.stringify(length.slice(0, 64))}`)
  return Number(length)
}

/**
 * Decodes the chunked body (RFC 9112 §7.1) at the start of `bytes`; undefined if incomplete. `rest` bytes follow it.
 */
export function decodeChunks(bytes: Buffer): { body: Buffer; rest: number } | undefined {
  const pieces: Buffer[] = []
  for (let at = 0; ; ) {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return undefined
    const [, hex] = /^([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?$/.exec(bytes.toString('latin1', at, end)) ?? []
    if (hex === undefined) throw new HttpProtocolError('the response has a chunk without a size')
    const size = Number.parseInt(hex, 16)
    const begin = end + 2
    if (size === 0) return skipTrailers(bytes, begin, pieces)
    if (bytes.length < begin + size + 2) return undefined
    if (bytes.toString('latin1', begin + size, begin + size + 2) !== '\r\n')
      throw new HttpProtocolError('the response has a chunk of another size')
    pieces.push(bytes.subarray(begin, begin + size))
    at = begin + size + 2
  }
}

// Trailer fields (RFC 9112 §7.1.2) are ignored.
function skipTrailers(bytes: Buffer, from: number, pieces: Buffer[]): { body: Buffer; rest: number } | undefined {
  for (let at = from; ; ) {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return undefined
    if (end === at) return { body: Buffer.concat(pieces), rest: bytes.length - end - 2 }
    at = end + 2
  }
}
