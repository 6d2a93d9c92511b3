import type { IncomingHttpHeaders } from 'node:http'
import { type Authorization, Authorizations } from './auth/authorization.ts'
import type { Cargo, Connections } from './connection/connections.ts'
import { fieldOf, parseContentRange, retryAfterMs } from './connection/headers.ts'
import { abandon, drain, readBytes } from './connection/read-body.ts'
import type { ResponseBody } from './connection/response-body.ts'
import { type HttpResponse, hostOf, type RequestBody, send } from './connection/send.ts'
import { tokenRenewed, UpstreamError } from './error.ts'
import { errorCode, faultOfResponse } from './failure.ts'
import type { UpstreamEvent, UpstreamMethod, UpstreamOptions, UpstreamResource } from './options.ts'

/** A request that any endpoint can answer. */
export interface UpstreamRequest {
  resource: UpstreamResource
  method: UpstreamMethod
  /** A path with its query, or an absolute URL; another host than the endpoint's gets no credentials. */
  path: string
  /** The token scope that it needs, e.g. `repository:<name>:pull`. */
  scope: string
  headers?: Record<string, string>
  body?: RequestBody
}

/** A successful response (2xx or 304). The caller reads or abandons its body. */
export interface UpstreamResponse {
  status: number
  headers: IncomingHttpHeaders
  body: ResponseBody
  endpoint: URL
  /** The URL that answered: the request's, or the last one after redirects. */
  url: URL
  /** Method and path of the request, without the query, for messages. */
  text: string
}

// Without a token, with an expired one, with a new one.
const maxSends = 3
const maxErrorBytes = 65_536

/** Sends requests to single endpoints: authentication, redirects, and errors by status. */
export class EndpointClient {
  readonly #connections: Connections
  readonly #authorizations: Authorizations
  readonly #namespace: string | undefined
  readonly #headers: UpstreamOptions['headers']
  readonly #now: () => number
  readonly #observe: (event: UpstreamEvent) => void

  constructor(
    settings: UpstreamOptions,
    { connections, now, observe }: { connections: Connections; now: () => number; observe: (event: UpstreamEvent) => void }
  ) {
    this.#connections = connections
    this.#namespace = settings.namespace
    this.#headers = settings.headers
    this.#authorizations = new Authorizations(settings, { connections, now, observe })
    this.#now = now
    this.#observe = observe
  }

  /** Any response but a success is an UpstreamError. */
  async send(endpoint: URL, request: UpstreamRequest, signal: AbortSignal): Promise<UpstreamResponse> {
    const started = this.#now()
    const { resource, method } = request
    const about = () => ({ endpoint: endpoint.host, resource, method, ms: this.#now() - started })
    try {
      const { response, text, code } = await this.#authorized(endpoint, request, signal)
      this.#observe({ type: 'answer', ...about(), status: response.status })
      const { status, headers, body, url } = response
      if ((status >= 200 && status < 300) || status === 304) return { status, headers, body, endpoint, url, text }
      throw await this.#errorOf(response, endpoint, { text, code, request })
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof UpstreamError && error.status === undefined) this.#observe({ type: 'failure', ...about(), error })
      throw error
    }
  }

  /** `code`: of the error that the response becomes, in place of the upstream's own. */
  async #authorized(
    endpoint: URL,
    request: UpstreamRequest,
    signal: AbortSignal
  ): Promise<{ response: HttpResponse; text: string; code?: string }> {
    const url = new URL(this.#pathOf(request), endpoint)
    const text = `${request.method} ${url.pathname}`
    const own = url.origin === endpoint.origin
    let sent: Authorization | undefined = own ? await this.#authorizations.known(endpoint, request.scope, signal) : undefined
    for (let sends = 1; ; sends++) {
      const { method, body } = request
      const headers = { ...request.headers, ...(own ? this.#headers : {}) }
      const what = { method, url, headers, authorization: sent?.value, body, cargo: cargoOf(request) }
      const response = await send(this.#connections, what, signal)
      // The challenge counts only if the request went to the endpoint itself: it is sent again to the same URL.
      if (response.status !== 401 || !own || response.url.origin !== endpoint.origin || sends === maxSends) return { response, text }
      const field = response.headers['www-authenticate']
      const better = await this.#authorizations.answer(endpoint, request.scope, { field, sent, signal }).catch(error => {
        abandon(response.body)
        throw error
      })
      // A stream cannot be sent again, but the next request finds the authorization.
      if (!better) return { response, text }
      if (request.body && 'stream' in request.body) return { response, text, code: tokenRenewed }
      await drain(response.body)
      sent = better
    }
  }

  // A URL that the upstream named, for an upload or a further page, is left as it is.
  #pathOf({ path }: UpstreamRequest): string {
    if (this.#namespace === undefined || !path.startsWith('/v2/') || /[?&]ns=/.test(path)) return path
    return `${path}${path.includes('?') ? '&' : '?'}ns=${encodeURIComponent(this.#namespace)}`
  }

  async #errorOf(
    { status, headers, body, url }: HttpResponse,
    endpoint: URL,
    { text, code: given, request }: { text: string; code: string | undefined; request: UpstreamRequest }
  ): Promise<UpstreamError> {
    const own = errorCode(await readBytes(body, maxErrorBytes).catch(() => Buffer.alloc(0)))
    const code = given ?? own
    const retryAfter = retryAfterMs(fieldOf(headers, 'retry-after'), this.#now())
    const size = status === 416 ? parseContentRange(fieldOf(headers, 'content-range'))?.size : undefined
    const from = url.origin === endpoint.origin ? 'own' : 'foreign'
    const fault = faultOfResponse({ status, headers, code: own }, from, request)
    const kind = status === 503 && retryAfter !== undefined ? 'limited' : fault
    const message = `${hostOf(url, endpoint)}: ${text} answered ${status}${code === undefined ? '' : ` ${code}`}`
    return new UpstreamError(kind, message, {
      endpoint: endpoint.host,
      status,
      ...(code === undefined ? {} : { code }),
      ...(retryAfter === undefined ? {} : { retryAfter }),
      ...(size === undefined ? {} : { size })
    })
  }
}

function cargoOf({ resource, method, body }: UpstreamRequest): Cargo {
  return (resource === 'blob' && method === 'GET') || (body && 'stream' in body) ? 'blobs' : 'small'
}
