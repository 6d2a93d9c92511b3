import { type Allowed, blockBytes, paddedBytes, readHeader, TarFault, type TarHeader } from './header.ts'

/** Bytes that can be read at any position. */
export interface PositionedBytes {
  readonly size: number
  /** Fills `into` from `position` on; fewer bytes at the end. Resolves to their number. */
  read(into: Buffer, position: number): Promise<number>
}

/** A file in an archive: its name, and where its bytes lie. */
export interface TarEntry {
  name: string
  offset: number
  size: number
}

// d8 writes no name of 300 bytes; PATH_MAX of Linux.
const maxNameBytes = 4096
const maxExtendedBytes = 64 * 1024
// Archives are padded to a multiple of up to some hundred blocks.
const maxPaddingBytes = 1024 * 1024
// Neighbouring headers of small entries come with one read.
const windowBytes = 16 * 1024

/**
 * The files of an archive in their order; their bytes are passed over. Directories count and are left out. `maxEntries`
 * bounds all headers together. Throws a TarFault where the archive is not whole or has what no bundle has; what was
 * yielded before is sound unless it is of the kind `refused`.
 */
export async function* tarEntries(
  bytes: PositionedBytes,
  { maxEntries, allowed, signal }: { maxEntries: number; allowed?: Allowed; signal: AbortSignal }
): AsyncGenerator<TarEntry, void> {
  const window = new Window(bytes)
  let about: Overrides = {}
  let position = 0
  for (let entries = 0; ; entries++) {
    signal.throwIfAborted()
    const offset = position
    if (entries === maxEntries) throw new TarFault('refused', `it has more than ${maxEntries} entries`, { offset })
    const block = await window.read(position, blockBytes)
    if (block.length < blockBytes) throw new TarFault('cut', endFault(block.length), { offset: bytes.size })
    const header = readHeader(block, offset, allowed)
    if (!header) return await checkEnd(bytes, window, position, about)
    position += blockBytes
    const { kind, size } = header
    if (kind === 'other') {
      about = {}
      position += paddedBytes(size)
    } else if (kind === 'file' || kind === 'directory') {
      const entry = entryOf(header, about, { offset: position, allowed })
      about = {}
      if (entry.offset + entry.size > bytes.size)
        throw new TarFault('cut', `the archive ends within the entry, which has ${entry.size} bytes`, {
          offset: bytes.size,
          entry: entry.name
        })
      position += paddedBytes(entry.size)
      if (kind === 'file') yield entry
    } else {
      about = { ...about, ...(await overridesIn(window, header, position)) }
      position += paddedBytes(size)
    }
  }
}

/** What the entries before a file say about it. */
interface Overrides {
  name?: string
  size?: number
}

function entryOf(
  { name: short, size: own }: TarHeader,
  { name = short, size = own }: Overrides,
  { offset, allowed }: { offset: number; allowed: Allowed | undefined }
): TarEntry {
  // What is passed over may be called anything.
  const reason = allowed === 'anything' ? undefined : nameFault(name)
  if (reason !== undefined) throw new TarFault('refused', reason, { offset: offset - blockBytes, entry: name })
  return { name: name.replace(/^\.\//, ''), offset, size }
}

function nameFault(name: string): string | undefined {
  if (name === '') return 'the entry has no name'
  if (name.startsWith('/')) return 'the name of the entry is absolute'
  if (name.split(/[/\\]/).includes('..')) return 'the name of the entry leads out of the bundle'
  return /\p{Cc}/u.test(name) ? 'the name of the entry has control characters' : undefined
}

async function overridesIn(window: Window, { kind, name: entry, size }: TarHeader, offset: number): Promise<Overrides> {
  const limit = kind === 'long-name' ? maxNameBytes : maxExtendedBytes
  if (size > limit) throw new TarFault('refused', `what precedes the entry has ${size} bytes, and ${limit} are allowed`, { offset, entry })
  const body = await window.read(offset, size)
  if (body.length < size) throw new TarFault('cut', 'the archive ends within the name of an entry', { offset, entry })
  if (kind === 'global') return {}
  if (kind === 'long-name') return { name: body.toString('utf8').replace(/\0.*$/s, '') }
  return extendedIn(body, offset, entry)
}

/** Records of `<length> <key>=<value>\n` (POSIX.1-2001 pax). */
function extendedIn(body: Buffer, offset: number, entry: string): Overrides {
  const found: Overrides = {}
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at)
    const length = space === -1 ? Number.NaN : Number(body.toString('latin1', at, space))
    const record = Number.isInteger(length) && length > space - at + 1 ? body.toString('utf8', space + 1, at + length) : ''
    const equals = record.indexOf('=')
    if (equals < 1 || !record.endsWith('\n')) throw new TarFault('refused', 'its extended header cannot be read', { offset, entry })
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1, -1)]
    if (key.startsWith('GNU.sparse.')) throw new TarFault('refused', 'the entry is a sparse file, and a bundle has none', { offset, entry })
    if (key === 'path') found.name = value
    if (key === 'size') {
      if (!/^[0-9]{1,15}$/.test(value)) throw new TarFault('refused', 'the size of the entry is no number', { offset, entry })
      found.size = Number(value)
    }
    at += length
  }
  return found
}

/** The first zero block is at `position`: a second one has to follow, and nothing else after it. */
async function checkEnd(bytes: PositionedBytes, window: Window, position: number, about: Overrides): Promise<void> {
  if (about.name !== undefined || about.size !== undefined)
    throw new TarFault('cut', 'the entry that was announced is missing', { offset: position })
  const second = await window.read(position + blockBytes, blockBytes)
  if (second.length < blockBytes) throw new TarFault('cut', endFault(0), { offset: bytes.size })
  const rest = bytes.size - position
  if (rest > maxPaddingBytes) throw new TarFault('cut', `${rest} bytes follow the end of the archive`, { offset: position })
  for (let at = position; at < bytes.size; at += windowBytes) {
    const piece = await window.read(at, Math.min(windowBytes, bytes.size - at))
    const found = piece.findIndex(byte => byte !== 0)
    if (found !== -1) throw new TarFault('cut', 'other bytes follow the end of the archive', { offset: at + found })
  }
}

function endFault(bytesOfHeader: number): string {
  return bytesOfHeader === 0 ? 'the archive has no end: it was cut between two entries' : 'the archive ends within a header'
}

/** The bytes around the position that was read last. */
class Window {
  readonly #bytes: PositionedBytes
  readonly #buffer = Buffer.allocUnsafe(windowBytes)
  #begin = 0
  #length = 0

  constructor(bytes: PositionedBytes) {
    this.#bytes = bytes
  }

  /** So many bytes at `position`, fewer at the end; they count until the next call. */
  async read(position: number, length: number): Promise<Buffer> {
    if (length > windowBytes) {
      const large = Buffer.allocUnsafe(length)
      return large.subarray(0, await this.#bytes.read(large, position))
    }
    if (position < this.#begin || position + length > this.#begin + this.#length) {
      this.#length = await this.#bytes.read(this.#buffer, position)
      this.#begin = position
    }
    const at = position - this.#begin
    return this.#buffer.subarray(at, Math.min(at + length, this.#length))
  }
}
