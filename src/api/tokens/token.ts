import type { IssuedToken } from '../../access/tokens/issuer.ts'
import { OciError } from '../../oci/errors.ts'
import { type Exchange, respondBytes } from '../exchange.ts'
import { receiveWhole } from '../receive.ts'

/** A request for a token (distribution, "Token Authentication Specification" and "OAuth2 Token Authentication"). */
export interface WantedToken {
  /** Credentials in the form of an `Authorization` header; absent if anonymous. */
  readonly authorization: string | undefined
  /** The service that the token is for; absent: this one. */
  readonly service: string | undefined
  /** Each holds scopes that are separated by spaces. */
  readonly scopes: readonly string[]
}

// A token of a service account may be the password.
const maxFormBytes = 16 * 1024

/** Issues a token for the credentials in `Authorization`; without them, an anonymous one. */
export async function getToken(exchange: Exchange): Promise<void> {
  const { request, query } = exchange
  const { authorization } = request.headers
  respondToken(exchange, await issue(exchange, { authorization, service: serviceIn(query), scopes: query.getAll('scope') }))
}

/** Issues a token for the credentials in a form (RFC 6749 §4.3). No refresh tokens are given, so none is taken. */
export async function postToken(exchange: Exchange): Promise<void> {
  const { request } = exchange
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw badRequest('the body is not application/x-www-form-urlencoded')
  }
  const form = new URLSearchParams((await receiveForm(exchange)).toString('utf8'))
  if (form.get('grant_type') !== 'password') throw badRequest('unsupported_grant_type: only password is supported')
  const scopes = form.getAll('scope')
  const issued = await issue(exchange, { authorization: basicOf(form), service: serviceIn(form), scopes })
  respondToken(exchange, issued, { scope: scopes.join(' ') })
}

async function receiveForm({ request, response, record, transfers, held }: Exchange): Promise<Buffer> {
  const hold = held.bodies.hold()
  const onChunk = (bytes: number) => {
    record.received += bytes
  }
  try {
    return await receiveWhole(request, response, { stalls: transfers.stalls, hold, limitBytes: maxFormBytes, onChunk })
  } finally {
    hold.end()
  }
}

async function issue({ issueToken, record }: Exchange, request: WantedToken): Promise<IssuedToken> {
  const issued = await issueToken(request)
  // Where no tokens are issued there is no such endpoint.
  if (!issued) throw new OciError('UNSUPPORTED', { status: 404, detail: { reason: 'this registry issues no tokens' } })
  if (issued.user !== undefined) record.user = issued.user
  return issued
}

function respondToken(exchange: Exchange, { token, expiresInSeconds, issuedAt }: IssuedToken, more: Record<string, string> = {}): void {
  // Some clients read the one name, some the other.
  const answer = { token, access_token: token, expires_in: expiresInSeconds, issued_at: issuedAt.toISOString(), ...more }
  respondBytes(exchange, 200, { 'content-type': 'application/json', 'cache-control': 'no-store' }, Buffer.from(JSON.stringify(answer)))
}

function basicOf(form: URLSearchParams): string {
  const [user, password] = [form.get('username'), form.get('password')]
  if (!user || password === null) throw badRequest('username and password are required')
  // A colon would move the border between the two.
  if (user.includes(':')) throw badRequest('a user has no colon in its name')
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

function serviceIn(parameters: URLSearchParams): string | undefined {
  return parameters.get('service') || undefined
}

function badRequest(reason: string): OciError {
  return new OciError('UNSUPPORTED', { status: 400, detail: { reason } })
}
