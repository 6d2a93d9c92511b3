/** One wrong thing in a configuration, as an operator reads it. */
export interface Fault {
  /** The file as it was named, or "defaults" without one. */
  readonly file: string
  /** Counted from 1; 0 when the fault is about the file as a whole. */
  readonly line: number
  /** The setting, e.g. `server.names[0]`; empty when the fault is about the file as a whole. */
  readonly path: string
  /** Ends the sentence "expected …"; empty when `rule` says it all. */
  readonly expected: string
  /** The broken rule in the ModuleConfig's own words, the setting included. */
  readonly rule?: string
  /** What was found, ready to print; absent when nothing was found or when it may not be printed. */
  readonly value?: string
}

/** Where a setting stands: the keys and indexes from the root. */
export type Path = readonly (string | number)[]

/** A fault that is not yet put into its file: the path, and the line where the path alone does not tell it. */
export interface Finding {
  readonly path: Path
  readonly expected: string
  readonly rule?: string
  readonly value?: string
  readonly line?: number
}

/** A configuration that cannot be used; the message has one line per fault. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super(faults.map(formatFault).join('\n'))
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** A path as it is written in faults: `auth.users.roles["a b"][0]`. */
export const formatPath = (path: Path): string => {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (/^[\w-]{1,64}$/.test(key)) text += text ? `.${key}` : key
    else text += `[${formatValue(key)}]`
  }
  return text
}

/** A value as it is written in faults: one line, short, and of a collection only that it is one. */
export const formatValue = (value: unknown): string => {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a mapping'
  // What stands before an @ is a password as likely as not: https://user:password@host.
  const text = typeof value === 'string' ? printable(value.replace(/^(?=.*[:/]).*@/s, '***@')) : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

const formatFault = ({ file, line, path, expected, rule, value }: Fault): string => {
  const place = line > 0 ? `${file}:${line}` : file
  if (rule !== undefined) return `${place}: ${rule}`
  const found = value === undefined ? '' : `, found ${value}`
  return `${place}: ${path ? `${path}: ` : ''}expected ${expected}${found}`
}

// JSON leaves the C1 controls and the bidirectional marks as they are; a terminal obeys them.
const printable = (text: string): string =>
  JSON.stringify(text).replace(/\p{C}|[\u2028\u2029]/gu, mark => `\\u{${mark.codePointAt(0)?.toString(16)}}`)
