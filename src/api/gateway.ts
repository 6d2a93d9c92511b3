import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { RateLimiter } from '../../storage/rate-limiter.ts'
import type { Backend } from '../backend/backend.ts'
import { OciError } from '../oci/errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { BufferPool } from './buffer-pool.ts'
import { clientSignal, describe, type RequiredPermission, resolve } from './endpoints.ts'
import { toOciError, writeError } from './error-writer.ts'
import type { AuditEvent, Exchange, RequestRecord } from './exchange.ts'
import { awaitingContinue, hasBody, SlowClientError } from './receive.ts'
import { type Endpoint, parseRoute, type Route } from './routes.ts'
import { type TransferContext, TruncatedError } from './send.ts'
import { SharedReads } from './shared-reads.ts'
import type { StallDetector } from './stall-detector.ts'

/** Who asks, and a check of what that one may do; it throws UNAUTHORIZED, DENIED or TOOMANYREQUESTS. */
export interface Caller {
  user?: string
  require(permission: RequiredPermission): void
}

/** What the registry port is made of. */
export interface GatewayOptions {
  /** The backend for a request; `ns` is containerd's. Undefined: there is no such registry here. */
  backendFor(ns: string | undefined): Backend | undefined
  identify(request: IncomingMessage, address: string): Promise<Caller>
  /** The client's address, which may stand in `X-Forwarded-For`. */
  addressOf(request: IncomingMessage): string
  limits: { manifestBytes: number; uploads: number }
  shortage: Exchange['shortage']
  sessions: Exchange['sessions']
  stalls: StallDetector
  /** Where blobs that are sent are limited. */
  egress?: RateLimiter | undefined
  log: Logger
  metrics: Metrics
}

// Bytes in flight to all clients together.
const sendBuffers = 16 * 1024 * 1024

/** Answers the registry port: one way in and one way out for every request. */
export class Gateway {
  readonly #options: GatewayOptions
  readonly #transfers: TransferContext
  #uploading = 0
  #requests = 0

  constructor(options: GatewayOptions) {
    this.#options = options
    const { stalls, egress } = options
    this.#transfers = { reads: new SharedReads(new BufferPool(sendBuffers)), stalls, egress }
  }

  /** Takes every path and method of `app`; Fastify's own parsing of bodies is out of the way. */
  register(app: FastifyInstance): void {
    // Before Fastify looks at the body's type, which it would refuse in its own words.
    app.addHook('onRequest', (request, reply) => this.handle(request, reply))
    app.all('/*', () => {})
    app.setErrorHandler((error, request, reply) => {
      reply.hijack()
      return writeError(request.raw, reply.raw, toOciError(error))
    })
  }

  /** Answers one request, whatever Fastify thinks of it. */
  handle(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.hijack()
    return this.#handle(request.raw, reply.raw, request.id)
  }

  /** Requests that are being answered. */
  get running(): number {
    return this.#requests
  }

  /** Requests that carry a body of an upload. */
  get uploading(): number {
    return this.#uploading
  }

  async #handle(request: IncomingMessage, response: ServerResponse, id: string): Promise<void> {
    const began = performance.now()
    const address = this.#options.addressOf(request)
    const record: RequestRecord = { route: 'none', address, received: 0, sent: 0, promised: 0 }
    this.#requests++
    try {
      await this.#run(request, response, record, id)
    } catch (error) {
      await this.#fail(request, response, record, error).catch(() => response.destroy())
    } finally {
      this.#requests--
      this.#observe(request, response, record, { id, ms: performance.now() - began })
    }
  }

  async #run(request: IncomingMessage, response: ServerResponse, record: RequestRecord, id: string): Promise<void> {
    const { backendFor, identify, limits, shortage, sessions } = this.#options
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      throw new OciError('UNSUPPORTED', { status: 400, detail: { reason: 'a request of HTTP/1.1 has to name its host (RFC 9112 §3.2)' } })
    }
    const url = (request.url ?? '/').replace(absoluteForm, '/')
    const mark = url.indexOf('?')
    const route = parseRoute(mark < 0 ? url : url.slice(0, mark))
    const query = mark < 0 ? noQuery : new URLSearchParams(url.slice(mark + 1))
    Object.assign(record, describe(route))
    const { permission, handle } = resolve(route, request.method ?? 'GET')
    if (permission !== 'open') await this.#authorize(request, record, permission, query, identify)
    const ns = query.get('ns') || undefined
    const backend = backendFor(ns)
    if (!backend)
      throw new OciError('NAME_UNKNOWN', { detail: { reason: 'ns names a registry that is not served here', ns: ns?.slice(0, 160) } })
    if (ns !== undefined) response.setHeader('oci-namespace', ns)
    const exchange: Exchange = {
      request,
      response,
      query,
      backend,
      record,
      limits,
      shortage,
      sessions,
      signal: clientSignal(request, response),
      transfers: this.#transfers,
      audit: event => this.#audit(event, record, id)
    }
    await this.#withinUploadLimit(request, route.endpoint, async () => handle(exchange, route as Route))
  }

  async #authorize(
    request: IncomingMessage,
    record: RequestRecord,
    permission: RequiredPermission,
    query: URLSearchParams,
    identify: GatewayOptions['identify']
  ): Promise<void> {
    const caller = await identify(request, record.address)
    if (caller.user !== undefined) record.user = caller.user
    caller.require(permission)
    // A mount reads the blob from somewhere.
    if (query.has('mount')) caller.require('pull')
  }

  async #withinUploadLimit(request: IncomingMessage, endpoint: Endpoint, task: () => Promise<void>): Promise<void> {
    if ((endpoint !== 'upload' && endpoint !== 'uploads') || !hasBody(request)) return task()
    if (this.#uploading >= this.#options.limits.uploads) {
      throw new OciError('TOOMANYREQUESTS', { detail: { reason: 'limits.uploads is reached' }, headers: { 'retry-after': '1' } })
    }
    this.#uploading++
    try {
      await task()
    } finally {
      this.#uploading--
    }
  }

  async #fail(request: IncomingMessage, response: ServerResponse, record: RequestRecord, error: unknown): Promise<void> {
    if (error instanceof TruncatedError) {
      record.sent = error.sent
      record.truncated = error.reason
      if (error.reason === 'source') record.error = error.cause
      return
    }
    const told = toOciError(error)
    const gone = response.destroyed || request.errored !== null
    if (gone) record.truncated = request.errored instanceof SlowClientError ? 'stalled' : 'client'
    else if (told.status >= 500) record.error = told.cause ?? told
    await writeError(request, response, told)
  }

  #audit(event: AuditEvent, record: RequestRecord, request: string): void {
    this.#options.log.info(
      { audit: true, actor: record.user ?? 'anonymous', ...event, address: record.address, request },
      'content changed'
    )
  }

  #observe(request: IncomingMessage, response: ServerResponse, record: RequestRecord, { id, ms }: { id: string; ms: number }): void {
    const { log, metrics } = this.#options
    const { route, received, sent, promised, truncated, error, age, ...about } = record
    const method = request.method ?? ''
    const known = response.headersSent
    metrics.requests.inc({ route, method: methods.has(method) ? method : 'other', code: known ? response.statusCode : 'none' })
    metrics.duration.observe({ route }, ms / 1000)
    if (about.outcome !== undefined) metrics.cache.inc({ route, outcome: about.outcome })
    if (age !== undefined) metrics.tagAge.observe(age)
    if (received > 0) metrics.received.inc({ route }, received)
    if (sent > 0) metrics.sent.inc({ route }, sent)
    if (truncated !== undefined && promised + sent > 0) metrics.truncated.inc({ cause: truncated })
    const line = {
      method,
      route,
      ...(route === 'none' ? { path: (request.url ?? '').split('?', 1)[0]?.slice(0, 256) } : {}),
      ...about,
      ...(known ? { status: response.statusCode } : {}),
      ...(promised > 0 ? { sent, promised } : {}),
      ...(received > 0 ? { received } : {}),
      ...(age === undefined ? {} : { age: Math.round(age) }),
      ...(truncated === undefined ? {} : { cut: truncated }),
      ms: Math.round(ms * 1000) / 1000,
      agent: request.headers['user-agent']?.slice(0, 256),
      request: id
    }
    if (error !== undefined) log.error({ ...line, err: error }, 'request failed')
    else log.info(line, 'request')
  }
}

// Nobody writes to a query.
const noQuery = new URLSearchParams()

// What a client sends that takes us for a proxy; a server has to understand it (RFC 9112 §3.2.2).
const absoluteForm = /^https?:\/\/[^/?]*\/?/i

// A label's values are bounded; a client can send any method that the parser knows.
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Requests that ask for `100 Continue` are answered when their body is wanted (RFC 9110 §10.1.1). */
export function deferContinue(server: Server): void {
  server.on('checkContinue', (request, response) => {
    awaitingContinue.add(request)
    // Answered without its body, the client may send it or not: the next request could not be told from it.
    response.setHeader('connection', 'close')
    server.emit('request', request, response)
  })
  // Other expectations may be ignored (RFC 9110 §10.1.1); Node would refuse them without a body.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
}
