/** A challenge of a 401 (RFC 9110 §11.6.1); scheme and names of parameters in lower case. */
export interface Challenge {
  scheme: string
  parameters: ReadonlyMap<string, string>
}

const token = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y
const quoted = /"((?:[^"\\]|\\[\s\S])*)"/y
const maxLength = 8192

/** Reads `WWW-Authenticate`; malformed challenges are left out. */
export function parseChallenges(field: string | string[] | undefined): Challenge[] {
  const text = (Array.isArray(field) ? field.join(', ') : (field ?? '')).slice(0, maxLength)
  const found: { scheme: string; parameters: Map<string, string> }[] = []
  const cursor = { text, at: 0 }
  while (cursor.at < text.length) {
    skip(cursor, /[\s,]*/y)
    const word = take(cursor, token)?.[0].toLowerCase()
    if (word === undefined) {
      // Anything but a token is skipped to the next comma.
      skip(cursor, /[^,]*,?/y)
      continue
    }
    skip(cursor, /[ \t]*/y)
    if (text[cursor.at] !== '=') found.push({ scheme: word, parameters: new Map() })
    else readParameter(cursor, word, found.at(-1)?.parameters)
  }
  return found
}

interface Cursor {
  readonly text: string
  at: number
}

function readParameter(cursor: Cursor, name: string, parameters: Map<string, string> | undefined): void {
  cursor.at++
  skip(cursor, /[ \t]*/y)
  const inQuotes = take(cursor, quoted)
  const value = inQuotes ? (inQuotes[1] ?? '').replace(/\\([\s\S])/g, '$1') : take(cursor, token)?.[0]
  if (value === undefined) skip(cursor, /[^,]*/y)
  // Of a repeated parameter the first one counts: checks in the server have likely seen that one.
  else if (parameters && !parameters.has(name)) parameters.set(name, value)
}

function take(cursor: Cursor, pattern: RegExp): RegExpExecArray | null {
  pattern.lastIndex = cursor.at
  const match = pattern.exec(cursor.text)
  if (match) cursor.at = pattern.lastIndex
  return match
}

function skip(cursor: Cursor, pattern: RegExp): void {
  take(cursor, pattern)
}
