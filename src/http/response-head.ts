/** Where the body of an answer ends (RFC 9112 §6.3): after so many bytes, after the last chunk, or with the connection. */
export type Framing = number | 'chunked' | 'close'

/** The head of an answer; names of fields are in lower case, those that came more than once are joined. */
export interface ResponseHead {
  status: number
  fields: Record<string, string>
  framing: Framing
  /** Whether the connection can be used again after the body. */
  keepAlive: boolean
}

/** What came is no HTTP/1.1 that can be understood. */
export class HttpProtocolError extends Error {
  readonly code = 'EPROTO'
}

/** Reads a head without the empty line at its end, as RFC 9112 §4 and §5 have it; WireError for anything else. */
export function parseHead(text: string): ResponseHead {
  const [first = '', ...lines] = text.split('\r\n')
  const [, minor, digits] = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: .*)?$/.exec(first) ?? []
  if (minor === undefined) throw new HttpProtocolError(`the answer begins with ${JSON.stringify(first.slice(0, 64))}`)
  const status = Number(digits)
  const fields = parseFields(lines)
  const framing = framingOf(status, fields)
  const options = (fields['connection'] ?? '').toLowerCase().split(/[ \t]*,[ \t]*/)
  const stays = minor === '1' ? !options.includes('close') : options.includes('keep-alive')
  // Both at once is how answers are smuggled into each other (RFC 9112 §6.3).
  const clear = framing !== 'close' && !('transfer-encoding' in fields && 'content-length' in fields)
  return { status, fields, framing, keepAlive: stays && clear }
}

function parseFields(lines: readonly string[]): Record<string, string> {
  const fields: Record<string, string> = Object.create(null)
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined)
      throw new HttpProtocolError(`the answer has a field ${JSON.stringify(line.slice(0, 64))}`)
    const key = name.toLowerCase()
    const before = fields[key]
    if (key === 'content-length' && before !== undefined && before !== value) throw new HttpProtocolError('the answer has two lengths')
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
  if (!/^[0-9]{1,15}$/.test(length)) throw new HttpProtocolError(`the answer has a length ${JSON.stringify(length.slice(0, 64))}`)
  return Number(length)
}

/** A body of chunks (RFC 9112 §7.1) that begins with the first byte, once all of it is there; undefined before that. `rest` are bytes behind it. */
export function decodeChunks(bytes: Buffer): { body: Buffer; rest: number } | undefined {
  const pieces: Buffer[] = []
  for (let at = 0; ; ) {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return undefined
    const [, hex] = /^([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?$/.exec(bytes.toString('latin1', at, end)) ?? []
    if (hex === undefined) throw new HttpProtocolError('the answer has a chunk without a size')
    const size = Number.parseInt(hex, 16)
    const begin = end + 2
    if (size === 0) return trailed(bytes, begin, pieces)
    if (bytes.length < begin + size + 2) return undefined
    if (bytes.toString('latin1', begin + size, begin + size + 2) !== '\r\n')
      throw new HttpProtocolError('the answer has a chunk of another size')
    pieces.push(bytes.subarray(begin, begin + size))
    at = begin + size + 2
  }
}

// Fields may follow the last chunk; nobody here needs any.
function trailed(bytes: Buffer, from: number, pieces: Buffer[]): { body: Buffer; rest: number } | undefined {
  for (let at = from; ; ) {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return undefined
    if (end === at) return { body: Buffer.concat(pieces), rest: bytes.length - end - 2 }
    at = end + 2
  }
}
