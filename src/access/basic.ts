import { isUtf8 } from 'node:buffer'

/** User and password of a Basic header. The password stays bytes: bcrypt compares bytes, and its limit counts them. */
export interface BasicCredentials {
  readonly user: string
  readonly password: Buffer
}

const shape = /^basic +([A-Za-z0-9+/]+={0,2}) *$/i

// User and password that bcrypt can distinguish are far shorter; a longer header is not decoded.
const maxHeaderLength = 8192

/**
 * Parses an `Authorization` header (RFC 7617 §2): `empty` without user and password, which skopeo, podman and buildah
 * send when they have no credentials and were challenged; undefined if it is not well-formed Basic.
 */
export function parseBasic(header: string): BasicCredentials | 'empty' | undefined {
  if (header.length > maxHeaderLength) return undefined
  const encoded = shape.exec(header)?.[1]
  if (encoded === undefined) return undefined
  const bytes = Buffer.from(encoded, 'base64')
  const colon = bytes.indexOf(':')
  if (colon === 0 && bytes.length === 1) return 'empty'
  // RFC 7617 §2 forbids control characters; a NUL would also end the password early for bcrypt.
  if (colon < 1 || bytes.some(isControl)) return undefined
  const user = bytes.subarray(0, colon)
  // Decoding invalid UTF-8 would map different users to the same text.
  if (!isUtf8(user)) return undefined
  return { user: user.toString('utf8'), password: bytes.subarray(colon + 1) }
}

/** The header of a 401 response (RFC 7617 §2.1). */
export function basicChallenge(realm: string): { 'WWW-Authenticate': string } {
  return { 'WWW-Authenticate': `Basic realm="${realm.replace(/["\\]/g, '\\$&')}", charset="UTF-8"` }
}

function isControl(byte: number): boolean {
  return byte < 0x20 || byte === 0x7f
}
