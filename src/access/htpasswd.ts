/** One line of an htpasswd file: a user and one of its valid passwords. */
export interface HtpasswdEntry {
  readonly user: string
  /** The bcrypt string of the file; never logged. */
  readonly hash: string
  /** The binary logarithm of bcrypt's rounds, 4 to 15. */
  readonly cost: number
}

const bcrypt = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/

// A cost of 15 takes seconds per login on one core; a typo like 31 would take days and starve every other login.
const costs = { min: 4, max: 15 }

/**
 * Parses an htpasswd file; a user may have several lines, and each of its passwords is valid.
 * Throws one Error with line and user of every fault, never with a hash.
 */
export function parseHtpasswd(text: string): HtpasswdEntry[] {
  const entries: HtpasswdEntry[] = []
  const faults: string[] = []
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .entries()) {
    const line = raw.trimEnd()
    if (line === '' || line.startsWith('#')) continue
    const entry = parseLine(line)
    if (typeof entry === 'string') faults.push(`line ${index + 1}: ${entry}`)
    else entries.push(entry)
  }
  if (faults.length > 0) throw new Error(`htpasswd: ${faults.join('; ')}`)
  return entries
}

function parseLine(line: string): HtpasswdEntry | string {
  const colon = line.indexOf(':')
  // Does not repeat the text: it may be a password on the wrong line.
  if (colon < 1) return 'expected user:bcrypt'
  const user = line.slice(0, colon)
  const hash = line.slice(colon + 1)
  if (hasControl(user)) return 'the user contains a control character'
  const match = bcrypt.exec(hash)
  if (!match) return `user ${user}: only bcrypt is supported ($2a$, $2b$, $2y$), make it with htpasswd -B`
  const cost = Number(match[1])
  if (cost < costs.min || cost > costs.max) return `user ${user}: cost ${cost} is not between ${costs.min} and ${costs.max}`
  return { user, hash, cost }
}

function hasControl(text: string): boolean {
  return [...text].some(character => character < ' ' || character === '\u007f')
}
