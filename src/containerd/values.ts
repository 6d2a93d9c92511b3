import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'

const hostName = /^[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?$/
const port = /^[1-9][0-9]{0,4}$/
const path = /^(\/[0-9A-Za-z._-]+)*\/?$/
const regex = /^\^?([0-9A-Za-z_/-]|\\?\.)+$/
const duration = /^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/
const certificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
// `https-<host>-ca.crt` is the longest file name, and file systems allow 255 bytes.
const maxHostLength = 240
const maxUsernameLength = 255

/** Throws unless the value is `host` or `host:port`, without scheme and path. */
export function checkHost(where: string, value: string): void {
  const { host, given } = splitPort(value)
  const ipv6 = host.startsWith('[') && host.endsWith(']') && isIP(host.slice(1, -1)) === 6
  if (value.length > maxHostLength || !(ipv6 || hostName.test(host)))
    throw fault(where, value, 'a host name or IP address, and maybe a port')
  if (given !== undefined && !(port.test(given) && Number(given) <= 65_535)) throw fault(where, value, 'a port between 1 and 65535')
}

/** Throws unless the value is empty or a repository path that begins with `/`, without `.` and `..`. */
export function checkPath(where: string, value: string): void {
  if (!path.test(value) || value.split('/').some(each => each === '.' || each === '..')) {
    throw fault(where, value, 'a path of letters, digits and . _ - without dot segments')
  }
}

/** Throws unless the value is a literal prefix, maybe after `^`, also when read as a Go regular expression. */
export function checkRegex(where: string, value: string): void {
  if (!regex.test(value)) throw fault(where, value, 'a literal path, maybe after ^')
}

/** Throws unless the value is a user of Basic credentials (RFC 7617 §2): no colon. The message shows the value. */
export function checkUsername(where: string, value: string): void {
  if (value === '' || value.length > maxUsernameLength || value.includes(':') || !isPlain(value)) {
    throw fault(where, value, `1 to ${maxUsernameLength} characters without colon and control characters`)
  }
}

/** Throws unless the value is a password of Basic credentials; the message does not show it. */
export function checkPassword(where: string, value: string): void {
  if (value === '' || !isPlain(value)) throw new Error(`${where}: expected text without control characters`)
}

/** Throws unless the value is PEM certificates and no private key: containerd fails every pull on an unreadable one. */
export function checkCa(where: string, value: string): void {
  if (value.includes('PRIVATE KEY-----')) throw new Error(`${where}: holds a private key; expected certificates only`)
  const found = value.match(certificate) ?? []
  if (found.length === 0) throw new Error(`${where}: expected at least one certificate in PEM`)
  for (const [index, each] of found.entries()) {
    try {
      new X509Certificate(each)
    } catch (cause) {
      throw new Error(`${where}: certificate ${index + 1} cannot be read`, { cause })
    }
  }
}

/** Throws unless the value is a Go duration: `500ms`, `1s`, `1m30s`. */
export function checkDuration(where: string, value: string): void {
  if (!duration.test(value)) throw fault(where, value, 'a duration such as 500ms or 1s')
}

function splitPort(value: string): { host: string; given?: string } {
  const colon = value.lastIndexOf(':')
  if (colon === -1 || value.endsWith(']')) return { host: value }
  return { host: value.slice(0, colon), given: value.slice(colon + 1) }
}

function isPlain(value: string): boolean {
  return value.isWellFormed() && !/\p{Cc}/u.test(value)
}

function fault(where: string, value: string, expected: string): Error {
  return new Error(`${where}: expected ${expected}, found ${JSON.stringify(value.slice(0, 100))}`)
}
