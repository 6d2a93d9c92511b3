import { isIP, isIPv6 } from 'node:net'

/** The address of a TCP port; port 0 is any free port. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** A limit in bytes or inodes, or in percent of what the filesystem has. */
export type SpaceLimit = number | { readonly percent: number }

/** A duration: whole numbers of h, m, s and ms in this order, each at most once. */
export const durationPattern = '^(?=.)([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$'
/** A byte size: a whole number, bare or in binary (KiB) or decimal (kB) multiples. */
export const bytesPattern = '^[0-9]{1,16}([KMGT]iB|[kMGT]B|B)?$'
/** A byte size or a percentage. */
export const spacePattern = '^[0-9]{1,16}([KMGT]iB|[kMGT]B|B)?$|^[0-9]{1,3}%$'
/** A number of inodes or a percentage. */
export const inodesPattern = '^[0-9]{1,15}%?$'
/** host:port, an IPv6 host in brackets; the parser checks the range of the port. */
export const addressPattern = '^(\\[[0-9A-Za-z:.%]+\\]|[A-Za-z0-9.-]+):[0-9]{1,5}$'

const durationUnits = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 }
const byteUnits = { '': 1, B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }

const hasUnit = <T extends object>(units: T, unit: string): unit is Extract<keyof T, string> => Object.hasOwn(units, unit)

/** Milliseconds; undefined if the text is not a duration. */
export const parseDuration = (text: string): number | undefined => {
  if (!new RegExp(durationPattern).test(text)) return undefined
  let total = 0
  for (const [, amount, unit = ''] of text.matchAll(/([0-9]+)([a-z]+)/g)) {
    if (hasUnit(durationUnits, unit)) total += Number(amount) * durationUnits[unit]
  }
  return total
}

/** The shortest text that `parseDuration` parses to these milliseconds. */
export const formatDuration = (milliseconds: number): string => {
  let rest = milliseconds
  let text = ''
  for (const [unit, size] of Object.entries(durationUnits)) {
    const amount = Math.floor(rest / size)
    rest -= amount * size
    if (amount > 0) text += `${amount}${unit}`
  }
  return text || '0s'
}

/** Bytes; undefined if the value is not a size, or too large for an exact number. */
export const parseBytes = (value: string | number): number | undefined => {
  const match = new RegExp(bytesPattern).exec(String(value))
  if (!match) return undefined
  const unit = match[1] ?? ''
  if (!hasUnit(byteUnits, unit)) return undefined
  const total = Number.parseInt(match[0], 10) * byteUnits[unit]
  return Number.isSafeInteger(total) ? total : undefined
}

/** Bytes or a percentage; undefined if the value is neither. */
export const parseSpace = (value: string | number): SpaceLimit | undefined => parsePercent(value) ?? parseBytes(value)

/** Inodes or a percentage; undefined if the value is neither. */
export const parseInodes = (value: string | number): SpaceLimit | undefined =>
  parsePercent(value) ?? (/^[0-9]{1,15}$/.test(String(value)) ? Number(value) : undefined)

const parsePercent = (value: string | number): SpaceLimit | undefined => {
  const percent = /^([0-9]{1,3})%$/.exec(String(value))?.[1]
  return percent !== undefined && Number(percent) <= 100 ? { percent: Number(percent) } : undefined
}

/** The text that `parseSpace` and `parseInodes` parse to this limit. */
export const formatLimit = (share: SpaceLimit): string | number => (typeof share === 'number' ? share : `${share.percent}%`)

/** The parts of host:port; an IPv6 host is written in brackets and returned without. Undefined if invalid. */
export const parseAddress = (text: string): Address | undefined => {
  const match = new RegExp(addressPattern).exec(text)
  if (!match) return undefined
  const colon = text.lastIndexOf(':')
  const port = Number(text.slice(colon + 1))
  const host = text.slice(0, colon)
  if (port > 65535) return undefined
  if (host.startsWith('[')) return isIPv6(host.slice(1, -1)) ? { host: host.slice(1, -1), port } : undefined
  return isHost(host) ? { host, port } : undefined
}

/** The text that `parseAddress` parses to this address. Only IPv6 has colons; `isIPv6` would cost 5 ms of a start. */
export const formatAddress = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

// If the last label has only digits it must be an IPv4 address: 127.1 or 999.0.0.1 would otherwise reach the resolver
// as names.
const isHost = (host: string): boolean =>
  isIP(host) === 4 ||
  (host.length <= 253 && /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?![0-9]+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(host))
