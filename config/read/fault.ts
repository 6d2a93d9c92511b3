/** A fault of a configuration, for operators. */
export interface Fault {
  /** The name of the file as given, or "defaults" without a file. */
  readonly file: string
  /** From 1; 0 if the fault concerns the whole file. */
  readonly line: number
  /** The setting, e.g. `server.names[0]`; empty if the fault concerns the whole file. */
  readonly path: string
  /** Ends the sentence "expected …"; empty if there is a `rule`. */
  readonly expected: string
  /** The broken rule in the ModuleConfig's own words, the setting included. */
  readonly rule?: string
  /** The found value, ready to print; absent if there is none or it may not be printed. */
  readonly value?: string
}

/** The keys and indexes from the root to a setting. */
export type Path = readonly (string | number)[]

/** A fault whose file, and mostly whose line, is not determined yet. */
export interface Finding {
  readonly path: Path
  readonly expected: string
  readonly rule?: string
  readonly value?: string
  readonly line?: number
}

/** The configuration cannot be used. The message has one line per fault. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super(faults.map(formatFault).join('\n'))
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** The text of a path in faults: `auth.users.roles["a b"][0]`. */
export const formatPath = (path: Path): string => {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (/^[\w-]{1,64}$/.test(key)) text += text ? `.${key}` : key
    else text += `[${formatValue(key)}]`
  }
  return text
}

/** The text of a value in faults: short, in one line, and without the contents of lists and mappings. */
export const formatValue = (value: unknown): string => {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a mapping'
  // The text before an @ may be a password: https://user:password@host.
  const text = typeof value === 'string' ? printable(value.replace(/^(?=.*[:/]).*@/s, '***@')) : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

const formatFault = ({ file, line, path, expected, rule, value }: Fault): string => {
  const place = line > 0 ? `${file}:${line}` : file
  if (rule !== undefined) return `${place}: ${rule}`
  const found = value === undefined ? '' : `, found ${value}`
  return `${place}: ${path ? `${path}: ` : ''}expected ${expected}${found}`
}

// JSON does not escape C1 controls and bidirectional marks, which a terminal would obey.
const printable = (text: string): string =>
  JSON.stringify(text).replace(/\p{C}|[\u2028\u2029]/gu, mark => `\\u{${mark.codePointAt(0)?.toString(16)}}`)
