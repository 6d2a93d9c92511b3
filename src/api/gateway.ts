import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { RateLimiter } from '../../storage/rate-limiter.ts'
import type { IssuedToken } from '../access/tokens/issuer.ts'
import type { Backend } from '../backend/backend.ts'
import { OciError } from '../oci/errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type RequestAudit, recordChanges, recordRefusal, requireAudit } from './audit.ts'
import { BufferPool } from './buffer-pool.ts'
import { clientSignal, describe, resolve } from './endpoints.ts'
import { toOciError, writeError } from './error-writer.ts'
import type { Caller, Exchange, RequestRecord } from './exchange.ts'
import { hostFault, wantsStored } from './headers.ts'
import { HeldBytes } from './held-bytes.ts'
import { SlowClientError } from './receive.ts'
import { type Endpoint, parseRoute, type Route } from './routes.ts'
import { type TransferContext, TruncatedError } from './send.ts'
import { SharedReads } from './shared-reads.ts'
import type { StallDetector } from './stall-detector.ts'
import type { WantedToken } from './tokens/token.ts'
import { awaitingContinue, hasBody } from './unread-body.ts'

/** Dependencies of the gateway. */
export interface GatewayOptions {
  /** The backend for containerd's `ns=`; undefined if no such registry is served. */
  backendFor(ns: string | undefined): Backend | undefined
  /** The same for reads with `Cache-Control: only-if-cached`. */
  storedFor?(ns: string | undefined): Backend | undefined
  /** Authenticates the request `id`; rejects with UNAUTHORIZED or TOOMANYREQUESTS. */
  identify(request: IncomingMessage, address: string, id: string): Promise<Caller>
  /** Issues a token in the request `id`; undefined where this registry issues none. */
  issueToken(wanted: WantedToken, address: string, id: string): Promise<IssuedToken | undefined>
  /** The client's address, maybe from `X-Forwarded-For`. */
  addressOf(request: IncomingMessage): string
  limits: { manifestBytes: number; uploads: number; connections: number }
  shortage: Exchange['shortage']
  sessions: Exchange['sessions']
  stalls: StallDetector
  /** The rate limit of all blobs sent. */
  egress?: RateLimiter | undefined
  log: Logger
  metrics: Metrics
  audit: RequestAudit
}

// Of all responses together.
const sendBufferBytes = 16 * 1024 * 1024
// Of manifests being received, and of large manifests and lists being sent: a few of the largest, many of usual size.
const maxHeldBytes = 32 * 1024 * 1024

// A port runs one request of a connection at a time (`ports/pipelining`), but a request may outlive its connection
// where it waits for shared work: a client that reconnects could gather them. This also bounds the waiters of all that
// requests share.
const maxRequests = (connections: number) => Math.max(256, 2 * connections)

/** Serves the registry port: routes, authorizes, handles and records every request. */
export class Gateway {
  readonly #options: GatewayOptions
  readonly #transfers: TransferContext
  readonly #held: Exchange['held']
  #uploading = 0
  #requests = 0

  constructor(options: GatewayOptions) {
    this.#options = options
    const { stalls, egress, limits } = options
    this.#transfers = { reads: new SharedReads(new BufferPool(sendBufferBytes)), stalls, egress }
    this.#held = {
      // Beside the uploads, so that slow ones do not keep manifests from being pushed.
      bodies: new HeldBytes({ bytes: maxHeldBytes, holds: limits.uploads }),
      answers: new HeldBytes({ bytes: maxHeldBytes, holds: Number.POSITIVE_INFINITY })
    }
  }

  /** Handles every path and method of `app`, without Fastify's parsing of bodies. */
  register(app: FastifyInstance): void {
    // In onRequest, before Fastify refuses unknown media types of bodies.
    app.addHook('onRequest', (request, reply) => this.handle(request, reply))
    app.all('/*', () => {})
    app.setErrorHandler((error, request, reply) => {
      reply.hijack()
      return writeError(request.raw, reply.raw, toOciError(error))
    })
  }

  /** Handles one request, also one that Fastify refuses. */
  handle(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.hijack()
    return this.answer(request.raw, reply.raw, request.id)
  }

  /** Requests being handled. */
  get running(): number {
    return this.#requests
  }

  /** Requests with a body of an upload session. */
  get uploading(): number {
    return this.#uploading
  }

  /** Answers the request `id`. Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse, id: string): Promise<void> {
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
    const { backendFor, storedFor, identify, issueToken, limits, shortage, sessions, audit } = this.#options
    if (this.#requests > maxRequests(limits.connections)) {
      throw new OciError('TOOMANYREQUESTS', { detail: { reason: 'too many requests are under way' }, headers: { 'retry-after': '1' } })
    }
    const fault = hostFault(request)
    if (fault !== undefined) throw new OciError('UNSUPPORTED', { status: 400, detail: { reason: fault } })
    const url = (request.url ?? '/').replace(absoluteForm, '/')
    const queryStart = url.indexOf('?')
    const route = parseRoute(queryStart < 0 ? url : url.slice(0, queryStart))
    const query = queryStart < 0 ? noQuery : new URLSearchParams(url.slice(queryStart + 1))
    Object.assign(record, describe(route))
    const { permission, handle } = resolve(route, request.method ?? 'GET')
    // Also on a 401, where some clients take an answer without it for one of another service.
    if (permission === 'base') response.setHeader('docker-distribution-api-version', 'registry/2.0')
    const ns = query.get('ns') || undefined
    if (ns !== undefined && !asciiText.test(ns)) throw new OciError('NAME_INVALID', { detail: { reason: 'ns is no host' } })
    const backend = storedFor && wantsStored(request) ? storedFor(ns) : backendFor(ns)
    let caller = openCaller
    if (permission !== 'open') {
      caller = await identify(request, record.address, id)
      if (caller.user !== undefined) record.user = caller.user
      // A registry that is not served is addressed like one that is.
      const host = backend ? backend.namespace : ns?.toLowerCase()
      try {
        caller.require(permission, route.name, host)
      } catch (error) {
        await recordRefusal(audit, error, { record, id, permission })
        throw error
      }
      if (permission === 'push' || permission === 'delete') await requireAudit(audit)
    }
    if (!backend)
      throw new OciError('NAME_UNKNOWN', { detail: { reason: 'ns names a registry that is not served here', ns: ns?.slice(0, 160) } })
    if (ns !== undefined) response.setHeader('oci-namespace', ns)
    const exchange: Exchange = {
      request,
      response,
      query,
      caller,
      backend,
      record,
      limits,
      shortage,
      sessions,
      issueToken: wanted => issueToken(wanted, record.address, id),
      signal: clientSignal(request, response),
      transfers: this.#transfers,
      held: this.#held,
      audit: (...events) => recordChanges(audit, events, record, id)
    }
    await this.#withinUploadLimit(request, route.endpoint, async () => handle(exchange, route as Route))
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
    const ociError = toOciError(error)
    const disconnected = response.destroyed || request.errored !== null
    if (disconnected) record.truncated = request.errored instanceof SlowClientError ? 'stalled' : 'client'
    else if (ociError.status >= 500) record.error = ociError.cause ?? ociError
    await writeError(request, response, ociError)
  }

  #observe(request: IncomingMessage, response: ServerResponse, record: RequestRecord, { id, ms }: { id: string; ms: number }): void {
    const { log, metrics } = this.#options
    const { route, received, sent, promised, truncated, error, age, ...fields } = record
    const method = request.method ?? ''
    const { headersSent } = response
    metrics.requests.inc({ route, method: countedMethods.has(method) ? method : 'other', code: headersSent ? response.statusCode : 'none' })
    metrics.duration.observe({ route }, ms / 1000)
    if (fields.outcome !== undefined) metrics.cache.inc({ route, outcome: fields.outcome })
    if (age !== undefined) metrics.tagAge.observe(age)
    if (received > 0) metrics.received.inc({ route }, received)
    if (sent > 0) metrics.sent.inc({ route }, sent)
    if (truncated !== undefined && promised + sent > 0) metrics.truncated.inc({ cause: truncated })
    const line = {
      method,
      route,
      ...(route === 'none' ? { path: (request.url ?? '').split('?', 1)[0]?.slice(0, 256) } : {}),
      ...fields,
      ...(headersSent ? { status: response.statusCode } : {}),
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

// Of endpoints that require no permission.
const openCaller: Caller = {
  require: () => {},
  mayPull: () => false,
  mayPullAll: () => false,
  mayList: () => false,
  mayListAll: () => false
}

// Shared by all requests without one; never written to.
const noQuery = new URLSearchParams()

// `toLowerCase` makes an ASCII letter of U+212A, which no field of a response can carry.
const asciiText = /^[\x21-\x7e]+$/

// The form that clients send to a proxy; a server has to accept it (RFC 9112 §3.2.2).
const absoluteForm = /^https?:\/\/[^/?]*\/?/i

// Bounds the values of the label: a client can send any method that the parser knows.
const countedMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Defers `100 Continue` until the body is read (RFC 9110 §10.1.1). */
export function deferContinue(server: Server): void {
  server.on('checkContinue', (request, response) => {
    awaitingContinue.add(request)
    // After a final response the client may still send the body, which could not be told from the next request.
    response.setHeader('connection', 'close')
    server.emit('request', request, response)
  })
  // Ignores other expectations (RFC 9110 §10.1.1); Node would respond 417 without a body.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
}
