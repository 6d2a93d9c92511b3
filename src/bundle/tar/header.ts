/** What a block of a tar archive announces. `long-name` and `extended` are followed by bytes about the next entry. */
export interface TarHeader {
  /** `other`: a link, a device and the like, where these are passed over. */
  kind: 'file' | 'directory' | 'long-name' | 'extended' | 'global' | 'other'
  name: string
  /** Of the bytes that follow, without their padding. */
  size: number
}

/** An archive is no tar, or has what no bundle has; the message says what. */
export class TarFault extends Error {
  override readonly name = 'TarFault'
  /** Where in the archive, in bytes. */
  readonly offset: number
  readonly entry: string | undefined
  /** `refused`: nothing of such an archive is used; `cut`: what lies before is sound. */
  readonly kind: 'refused' | 'cut'

  constructor(kind: 'refused' | 'cut', reason: string, { offset, entry }: { offset: number; entry?: string | undefined }) {
    super(reason)
    this.kind = kind
    this.offset = offset
    this.entry = entry
  }
}

/** The unit of a tar archive in bytes: of headers, and of the padding of what follows them. */
export const blockBytes = 512

const longNameOfGnu = '././@LongLink'
const kinds: Readonly<Record<string, TarHeader['kind']>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '5': 'directory',
  L: 'long-name',
  x: 'extended',
  g: 'global'
}
// Of links the field is that of the other file, of a directory it is about disk quotas (POSIX.1), if it is anything.
const withoutBytes = new Set(['1', '2', '3', '4', '5', '6'])
const refusedKinds: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a character device',
  '4': 'a block device',
  '6': 'a FIFO',
  K: 'a long link',
  S: 'a sparse file'
}

/** What may be in an archive: files alone, as in a bundle, or anything, as in a layer of an image. */
export type Allowed = 'files' | 'anything'

/**
 * Reads the header in `block` (POSIX.1-1988 ustar, and GNU's with sizes in base 256); undefined for one of the zero
 * blocks that end an archive. `offset` is that of the block, for faults.
 */
export function readHeader(block: Buffer, offset: number, allowed: Allowed = 'files'): TarHeader | undefined {
  if (block.every(byte => byte === 0)) return undefined
  if (numberIn(block, 148, 8) !== checksumOf(block)) throw new TarFault('cut', 'no tar header is here', { offset })
  const name = nameIn(block)
  const flag = String.fromCharCode(block[156] ?? 0)
  const kind = kinds[flag] ?? (allowed === 'anything' ? 'other' : undefined)
  if (kind === undefined) {
    const what = refusedKinds[flag] ?? `of type ${JSON.stringify(flag)}`
    throw new TarFault('refused', `the entry is ${what}, and a bundle has files only`, { offset, entry: name })
  }
  const size = numberIn(block, 124, 12)
  if (size === undefined) throw new TarFault('refused', 'the size of the entry is no number', { offset, entry: name })
  return { kind, name, size: withoutBytes.has(flag) ? 0 : size }
}

/**
 * The header of a file as GNU tar and d8 write it: mode 0777, time 0, owner 0; with an entry before it for a long name.
 */
export function writeHeader(name: string, size: number): Buffer {
  const long = Buffer.from(name)
  if (long.length <= 100) return headerOf('0', long, size, 0o777)
  const padded = Buffer.alloc(paddedBytes(long.length + 1))
  long.copy(padded)
  return Buffer.concat([
    headerOf('L', Buffer.from(longNameOfGnu), long.length + 1, 0),
    padded,
    headerOf('0', long.subarray(0, 100), size, 0o777)
  ])
}

/** So many bytes with their padding. */
export function paddedBytes(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes
}

function headerOf(flag: string, name: Buffer, size: number, mode: number): Buffer {
  const block = Buffer.alloc(blockBytes)
  name.copy(block)
  const octal = (value: number, at: number, length: number) => block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  octal(mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  if (size < 8 ** 11) octal(size, 124, 12)
  else {
    block.writeBigUInt64BE(BigInt(size), 128)
    block[124] = 0x80
  }
  octal(0, 136, 12)
  block.write(flag, 156, 'latin1')
  block.write('ustar  \0', 257, 'latin1')
  block.write(`${checksumOf(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function nameIn(block: Buffer): string {
  const name = textIn(block, 0, 100)
  // GNU has other fields in place of the prefix of POSIX.
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isPosix ? textIn(block, 345, 155) : ''
  return prefix === '' ? name : `${prefix}/${name}`
}

/** The text of a field, up to its first zero byte. */
function textIn(block: Buffer, at: number, length: number): string {
  const field = block.subarray(at, at + length)
  const end = field.indexOf(0)
  return field.toString('utf8', 0, end === -1 ? length : end)
}

/**
 * A number in octal digits, or in base 256 where the first bit is set; undefined if it is none or too large to count.
 */
function numberIn(block: Buffer, at: number, length: number): number | undefined {
  const first = block[at] ?? 0
  if (first < 0x80) {
    const digits = textIn(block, at, length).trim()
    return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined
  }
  const high = block.subarray(at + 1, at + length - 8)
  if (first !== 0x80 || high.some(byte => byte !== 0)) return undefined
  const value = block.readBigUInt64BE(at + length - 8)
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined
}

function checksumOf(block: Buffer): number {
  let sum = 8 * 0x20
  for (let at = 0; at < blockBytes; at++) if (at < 148 || at >= 156) sum += block[at] ?? 0
  return sum
}
