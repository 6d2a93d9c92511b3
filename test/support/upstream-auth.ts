import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** How an upstream of the tests wants to be asked. It can be changed while the server runs. */
export interface UpstreamAuth {
  scheme: 'Basic' | 'Bearer'
  /** Without them, tokens are given to everybody. */
  username?: string
  password?: string
  /** Of the token service, if it is not to be this server's own `/token`. */
  realm?: string
  /** Seconds. */
  expiresIn?: number
  /** Before the token service answers, in ms. */
  tokenDelay?: number
  tokenStatus?: number
  /** Characters of each token. */
  tokenLength?: number
  /** Instead of the token service's own answer. */
  tokenBody?: string
  /** The `Location` of its answer. */
  tokenLocation?: string
  /** Requests with the query `moved` are redirected to this path. */
  movedTo?: string
  /** The `Retry-After` of its answer, in seconds. */
  tokenRetryAfter?: number
  /** Instead of the server's own challenge. */
  challenge?: string
}

/** Checks requests and gives tokens. */
export class AuthDesk {
  auth: UpstreamAuth | undefined
  #given = 0
  readonly #valid = new Map<string, string>()

  constructor(auth: UpstreamAuth | undefined) {
    this.auth = auth
  }

  /** All tokens given so far are refused from now on. */
  revoke(): void {
    this.#valid.clear()
  }

  /** The challenge for a request that is not allowed to have `scope`, or undefined. */
  challenge(request: IncomingMessage, origin: string, scope: string): string | undefined {
    const { auth } = this
    if (!auth) return undefined
    const sent = request.headers.authorization ?? ''
    if (auth.scheme === 'Basic') return sent === this.#basic() ? undefined : (auth.challenge ?? 'Basic realm="test"')
    const token = sent.replace(/^Bearer /, '')
    if (this.#valid.get(token) === scope) return undefined
    const error = sent === '' ? '' : ',error="invalid_token"'
    return auth.challenge ?? `Bearer realm="${auth.realm ?? `${origin}/token`}",service="test",scope="${scope}"${error}`
  }

  /** The token service. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const auth = this.auth ?? { scheme: 'Bearer' }
    if (auth.tokenDelay !== undefined) await sleep(auth.tokenDelay)
    const status = auth.tokenStatus ?? (auth.username === undefined || request.headers.authorization === this.#basic() ? 200 : 401)
    const asked = new URL(request.url ?? '/', 'http://any').searchParams
    const scope = asked.getAll('scope').join(' ')
    if (auth.movedTo !== undefined && asked.has('moved')) {
      asked.delete('moved')
      return void response.writeHead(307, { location: `${auth.movedTo}?${asked}` }).end()
    }
    const token = `token-${++this.#given}`.padEnd(auth.tokenLength ?? 0, '.')
    if (status === 200) this.#valid.set(token, scope)
    const expiry = auth.expiresIn === undefined ? {} : { expires_in: auth.expiresIn }
    if (auth.tokenLocation !== undefined) response.setHeader('location', auth.tokenLocation)
    if (auth.tokenRetryAfter !== undefined) response.setHeader('retry-after', auth.tokenRetryAfter)
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(auth.tokenBody ?? JSON.stringify(status === 200 ? { token, ...expiry } : {}))
  }

  #basic(): string {
    return `Basic ${Buffer.from(`${this.auth?.username ?? ''}:${this.auth?.password ?? ''}`).toString('base64')}`
  }
}
