import { createHash, createHmac, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

/** A key pair, and what tokens are made of with it. */
export interface TokenKey {
  /** The private and the public key in PEM. */
  readonly pem: string
  readonly publicPem: string
  readonly id: string
  readonly jwk: Record<string, unknown>
  /** A token with these claims; `header` replaces fields of its header. */
  token(claims: Record<string, unknown>, header?: Record<string, unknown>): string
}

/** Makes a key pair on P-256, or for RSA. */
export function tokenKey(kind: 'ES256' | 'RS256' = 'ES256', curve = 'prime256v1'): TokenKey {
  const { privateKey, publicKey } =
    kind === 'ES256' ? generateKeyPairSync('ec', { namedCurve: curve }) : generateKeyPairSync('rsa', { modulusLength: 2048 })
  const id = createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64url')
  return {
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    id,
    jwk: {
      ...createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({ format: 'jwk' }),
      kid: id,
      use: 'sig',
      alg: kind
    },
    token: (claims, header = {}) => signed(encode({ alg: kind, typ: 'JWT', kid: id, ...header }), encode(claims), privateKey)
  }
}

/** A token that is signed with HMAC. */
export function hmacToken(secret: string, claims: Record<string, unknown>, header: Record<string, unknown>): string {
  const text = `${encode({ alg: 'HS256', typ: 'JWT', ...header })}.${encode(claims)}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

/** A part of a token, read without its signature. */
export function partOf(token: string, part: 0 | 1): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[part] ?? '', 'base64url').toString())
}

/** JSON in base64url, as a token has it. */
export function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function signed(header: string, payload: string, key: KeyObject): string {
  const text = `${header}.${payload}`
  return `${text}.${sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}
