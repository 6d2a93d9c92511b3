import { resolve } from 'node:path'
import { parseCertificates } from './certificates.ts'
import { formatImagesRepo, parseHost, parseImagesRepo, parseProxy } from './hosts.ts'
import { formatAddress, formatDuration, formatLimit, parseAddress, parseBytes, parseDuration, parseInodes, parseSpace } from './units.ts'

/** Converts a text or number of the file to a value of the effective configuration, and back. */
interface Codec {
  /** Undefined: invalid. Null: valid, and the setting is absent. Relative paths start at `folder`. */
  parse(text: string, folder: string): unknown
  /** Returns a text that `parse` converts to the same value. Absent: the value is written as it is. */
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
  output: { parse: (text, folder) => (text === 'stdout' ? text : resolve(folder, text)) },
  certificates: { parse: orEmpty(parseCertificates) },
  proxy: { parse: text => (text === '' ? null : parseProxy(text)) },
  redirect: { parse: parseRedirect }
} as const satisfies Readonly<Record<string, Codec>>

/** The name of a parser. */
export type Unit = keyof typeof codecs

/** The codec of a unit. */
export const codecOf = (unit: Unit): Codec => codecs[unit]

/** The parsed value of a setting that was validated before. */
export const valid = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('settings are resolved only after they were validated')
  return value
}
