import { createHash, createPrivateKey, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'

/** The keys of the registry's own tokens: all verify, one signs. */
export interface SigningKeys {
  readonly signing: { readonly id: string; readonly key: KeyObject }
  /** Public keys by id. */
  readonly verifying: ReadonlyMap<string, KeyObject>
}

/**
 * Parses key files in PEM, each with one key on P-256; the first is a private key, and signs. Throws an Error with the
 * number of the file that cannot be used.
 */
export function parseSigningKeys(files: readonly Buffer[]): SigningKeys {
  const keys = files.map((pem, index) => {
    try {
      return parseSigningKey(pem, index === 0)
    } catch (cause) {
      throw new Error(`tokens: key ${index + 1}: ${(cause as Error).message}`, { cause })
    }
  })
  const [first] = keys
  if (!first) throw new Error('tokens: there is no key')
  return { signing: first, verifying: new Map(keys.map(({ id, key }) => [id, publicOf(key)])) }
}

function parseSigningKey(pem: Buffer, signs: boolean): { id: string; key: KeyObject } {
  const isPrivate = /-----BEGIN (EC )?PRIVATE KEY-----/.test(pem.toString('latin1'))
  if (signs && !isPrivate) throw new Error('expected a private key in PEM, since the first key signs')
  const key = isPrivate ? createPrivateKey(pem) : createPublicKey(pem)
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error('expected a key on the curve P-256 (prime256v1)')
  return { id: keyId(publicOf(key)), key }
}

const maxIssuerKeys = 64

/**
 * Parses public keys of another issuer by their ids: a JSON Web Key Set (RFC 7517 §5), or PEM, whose ids are those that
 * Kubernetes gives its keys. Keys that no signature can be verified with are passed over; throws if none is left.
 */
export function parseIssuerKeys(bytes: Buffer): Map<string, KeyObject> {
  const text = bytes.toString('utf8').trim()
  const found = text.startsWith('{') ? keysOfSet(text) : keysOfPem(text)
  if (found.length === 0) throw new Error('expected public keys in PEM, or a JSON Web Key Set with RSA or EC keys that have a kid')
  if (found.length > maxIssuerKeys) throw new Error(`expected at most ${maxIssuerKeys} keys`)
  return new Map(found)
}

function keysOfSet(text: string): [string, KeyObject][] {
  const { keys } = JSON.parse(text) as { keys?: unknown }
  if (!Array.isArray(keys)) throw new Error('expected a JSON Web Key Set')
  return keys.slice(0, maxIssuerKeys + 1).flatMap((jwk: (JsonWebKey & { kid?: unknown; use?: unknown }) | null) => {
    if (typeof jwk?.kid !== 'string' || (jwk.use !== undefined && jwk.use !== 'sig')) return []
    if (jwk.kty !== 'RSA' && jwk.kty !== 'EC') return []
    return [[jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]]
  })
}

function keysOfPem(text: string): [string, KeyObject][] {
  const blocks = text.match(/-----BEGIN ((RSA )?PUBLIC KEY|CERTIFICATE)-----[\s\S]*?-----END \1-----/g) ?? []
  return blocks.map(block => {
    const key = createPublicKey(block)
    return [keyId(key), key]
  })
}

/** The id of a public key: the SHA-256 of its SPKI in base64url, as Kubernetes does it. */
export function keyId(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64url')
}

function publicOf(key: KeyObject): KeyObject {
  return key.type === 'private' ? createPublicKey(key) : key
}
