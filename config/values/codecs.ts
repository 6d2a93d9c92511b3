import { resolve } from 'node:path'
import { parseCertificates } from './certificates.ts'
import { formatImagesRepo, parseHost, parseImagesRepo, parseProxy } from './hosts.ts'
import { formatAddress, formatDuration, formatLimit, parseAddress, parseBytes, parseDuration, parseInodes, parseSpace } from './units.ts'

/** How a text or number of the file becomes a value of the effective configuration, and back. */
interface Codec {
  /** Undefined: not a value of this unit. Null: a value that means "absent". Relative paths start at `folder`. */
  parse(text: string, folder: string): unknown
  /** A text that `parse` reads as the same value. Absent: the value itself. */
  format?: (effective: never) => string | number
}

const parseAge = (text: string): number | null | undefined => (text === 'keep' ? null : parseDuration(text))

const parseRedirect = (text: string): { over: number } | null | undefined =>
  text === 'off' ? null : text === 'always' ? { over: 0 } : undefined

// Empty means absent, as in the ModuleConfig and in the environment.
const orEmpty =
  <T>(parse: (text: string) => T) =>
  (text: string) =>
    text.trim() === '' ? null : parse(text)

/** The parser of each `unit` of the schema. */
export const codecs = {
  duration: { parse: parseDuration, format: formatDuration },
  age: { parse: parseAge, format: formatDuration },
  bytes: { parse: parseBytes },
  space: { parse: parseSpace, format: formatLimit },
  inodes: { parse: parseInodes, format: formatLimit },
  address: { parse: parseAddress, format: formatAddress },
  host: { parse: parseHost },
  imagesRepo: { parse: parseImagesRepo, format: formatImagesRepo },
  endpoint: { parse: text => text.replace(/\/$/, '') },
  path: { parse: (text, folder) => resolve(folder, text) },
  certificates: { parse: orEmpty(parseCertificates) },
  proxy: { parse: text => (text === '' ? null : parseProxy(text)) },
  redirect: { parse: parseRedirect }
} as const satisfies Readonly<Record<string, Codec>>

/** The name of a parser. */
export type Unit = keyof typeof codecs

/** The codec of a unit, whatever its values are. */
export const codecOf = (unit: Unit): Codec => codecs[unit]

/** A parsed value that validation has already proved to be valid. */
export const valid = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('settings are resolved only after they were validated')
  return value
}
