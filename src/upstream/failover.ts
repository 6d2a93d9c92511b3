import { Answers } from './answer-reader.ts'
import { RequestBodyError } from './connection/send.ts'
import type { EndpointClient, UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import { isLimited, UpstreamError } from './error.ts'
import { isHeadRefused } from './failure.ts'
import type { Endpoints, RequestResult } from './health/endpoints.ts'
import { HeadRefusals } from './health/head-refusals.ts'
import type { ReplicaPolicy, UpstreamEvent } from './options.ts'
import { type AttemptResult, race, silentCode } from './race.ts'

const maxRounds = 3
const maxReplicaRounds = 2
// Of a replica that is asked, and of one that is being written to: a push cannot go on elsewhere.
const missedProbes = { asked: 2, written: 10 }
const firstPauseMs = 100

// The connection was not made, so the request was not sent.
const unsent =
  /^(CERT_|ERR_TLS|ERR_SSL|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|ENOTFOUND$|EAI_|ECONNREFUSED$|EHOSTUNREACH$|ENETUNREACH$|UND_ERR_CONNECT_TIMEOUT$)/

type Use<T> = (answer: UpstreamResponse) => Promise<T> | T

/** Dependencies of a FailoverClient. */
export interface FailoverDeps {
  /** In [0, 1), for jitter. */
  random: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
  now: () => number
  observe: (event: UpstreamEvent) => void
  replicas?: ReplicaPolicy | undefined
  /** Whether an endpoint answers anything at all. */
  probe: (endpoint: URL) => Promise<boolean>
}

/** Sends requests to the endpoints of an upstream, one after the other until one gives a usable response. */
export class FailoverClient {
  /** Reads the answers that are held in memory. */
  readonly answers = new Answers()
  readonly #endpoints: Endpoints
  readonly #client: EndpointClient
  readonly #deps: FailoverDeps
  readonly headRefusals: HeadRefusals

  constructor(endpoints: Endpoints, client: EndpointClient, deps: FailoverDeps) {
    this.headRefusals = new HeadRefusals(deps.now)
    this.#endpoints = endpoints
    this.#client = client
    this.#deps = deps
  }

  /**
   * For a GET or HEAD; each endpoint is tried up to three times. `use` makes a value of the response; an UpstreamError
   * that it throws counts as the endpoint's failure. Content is `not-found` only if no endpoint has it. 401, 403 and
   * 416 are final; of replicas only 416 is.
   */
  run<T>(request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<T> {
    const { replicas } = this.#deps
    if (replicas) return this.#amongReplicas(replicas, request, signal, use)
    return this.#retry(() => this.#round(this.#endpoints.order(), request, signal, use), signal)
  }

  /** As `run`, at the one endpoint that has an upload session. */
  runAt<T>(endpoint: URL, request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<T> {
    return this.#retry(() => this.#watched(endpoint, request, signal, use), signal)
  }

  /**
   * For a request that changes something. Another endpoint gets it only if the one before cannot have received it. A
   * PUT, which is idempotent (RFC 9110 §9.2.2), is retried after a transient error; other methods are not.
   */
  async write<T>(request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<T> {
    if (request.method === 'PUT') return this.#retry(() => this.#firstReached(request, signal, use), signal)
    const outcome = await this.#firstReached(request, signal, use)
    if ('value' in outcome) return outcome.value
    throw outcome.error
  }

  /** Sends a request to one endpoint, once, without a retry. */
  async writeAt<T>(endpoint: URL, request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<T> {
    const outcome = await this.#watched(endpoint, request, signal, use)
    if ('value' in outcome) return outcome.value
    throw outcome.error
  }

  /** Sends the request for a further page to the endpoint of the first page. */
  send(endpoint: URL, request: UpstreamRequest, signal: AbortSignal): Promise<UpstreamResponse> {
    return this.#client.send(endpoint, request, signal)
  }

  /** The host of the endpoint that is asked first. */
  nextHost(): string {
    return this.#endpoints.order()[0]?.host ?? ''
  }

  /** Waits before attempt `number` + 1: exponential backoff with jitter. */
  pause(number: number, signal: AbortSignal): Promise<void> {
    const wholeMs = firstPauseMs * 2 ** number
    return this.#deps.sleep(wholeMs / 2 + (wholeMs / 2) * this.#deps.random(), signal)
  }

  /** Records how a response body ended. */
  report(endpoint: URL, result: RequestResult): void {
    this.#endpoints.report(endpoint, result)
  }

  /** How endpoints that are replicas are asked; undefined if they are not. */
  get replicas(): ReplicaPolicy | undefined {
    return this.#deps.replicas
  }

  /** Records that endpoints gave wrong bytes; nothing tells which of several did. */
  wrong(endpoints: readonly URL[], path: string): void {
    for (const { host } of endpoints) this.#deps.observe({ type: 'wrong', endpoint: host, path })
    this.#deps.replicas?.onWrong(endpoints, path)
  }

  /** Whether an endpoint answers anything at all. */
  probe(endpoint: URL): Promise<boolean> {
    return this.#deps.probe(endpoint)
  }

  // Without a pause: where no replica can be asked, the client learns it at once.
  async #amongReplicas<T>(replicas: ReplicaPolicy, request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<T> {
    for (let round = 1; ; round++) {
      const result = await race({
        endpoints: this.#endpoints.order(request.path),
        attempt: (endpoint, either) => this.#admitted(endpoint, request, either, use),
        hedgeAfterMs: replicas.hedgeAfterMs(),
        isAlive: endpoint => this.#deps.probe(endpoint),
        missedProbes: missedProbes.asked,
        isFinal: error => error.kind === 'unsatisfiable',
        onHedge: ({ host }) => this.#deps.observe({ type: 'hedge', endpoint: host, resource: request.resource }),
        signal
      })
      if ('value' in result) return result.value
      // A kept connection may end just when it is used, and a replica that restarts ends all of them.
      if (round === maxReplicaRounds || !result.errors.some(wasCut)) throw ofReplicas(result.errors)
    }
  }

  async #retry<T>(attempt: () => Promise<AttemptResult<T>>, signal: AbortSignal): Promise<T> {
    for (let round = 1; ; round++) {
      const outcome = await attempt()
      if ('value' in outcome) return outcome.value
      if (round === maxRounds || !isTransient(outcome.error)) throw outcome.error
      await this.pause(round, signal)
    }
  }

  async #round<T>(endpoints: readonly URL[], request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<AttemptResult<T>> {
    const errors: UpstreamError[] = []
    for (const endpoint of endpoints) {
      const outcome = await this.#admitted(endpoint, request, signal, use)
      if ('value' in outcome) return outcome
      if (isFinal(outcome.error) || isHeadRefused(request.method, outcome.error)) throw outcome.error
      errors.push(outcome.error)
    }
    // An endpoint that failed may have the content, so its error outweighs `not-found` from all others.
    const error = errors.findLast(each => !isMissing(each) && !isLimited(each)) ?? soonest(errors) ?? errors.at(-1)
    if (!error) throw new Error('an upstream has no endpoint')
    return { error }
  }

  async #firstReached<T>(request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<AttemptResult<T>> {
    let last: AttemptResult<T> | undefined
    for (const endpoint of this.#endpoints.order()) {
      last = await this.#watched(endpoint, request, signal, use)
      if ('value' in last || !mayGoElsewhere(request, last.error)) return last
    }
    if (!last) throw new Error('an upstream has no endpoint')
    return last
  }

  // A replica that is frozen or cut off would keep a request for ever.
  async #watched<T>(endpoint: URL, request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<AttemptResult<T>> {
    const { replicas } = this.#deps
    if (!replicas) return this.#admitted(endpoint, request, signal, use)
    const isStream = request.body !== undefined && 'stream' in request.body
    const result = await race({
      endpoints: [endpoint],
      attempt: (only, either) => this.#admitted(only, request, either, use),
      hedgeAfterMs: replicas.hedgeAfterMs(),
      isAlive: only => this.#deps.probe(only),
      missedProbes: isStream ? missedProbes.written : missedProbes.asked,
      isFinal: () => false,
      onHedge: () => {},
      signal
    })
    return 'value' in result ? result : { error: ofReplicas(result.errors) }
  }

  async #admitted<T>(endpoint: URL, request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<AttemptResult<T>> {
    const refusal = this.#endpoints.refusal(endpoint, request)
    return refusal ? { error: refusal } : this.#once(endpoint, request, signal, use)
  }

  async #once<T>(endpoint: URL, request: UpstreamRequest, signal: AbortSignal, use: Use<T>): Promise<AttemptResult<T>> {
    let result: RequestResult
    const end = this.#endpoints.begin(endpoint)
    let answer: UpstreamResponse | undefined
    try {
      answer = await this.#client.send(endpoint, request, signal)
      const value = await use(answer)
      result = 'answered'
      return { value }
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof RequestBodyError) throw error.cause
      if (!(error instanceof UpstreamError)) throw error
      result = isRefusedWrite(request, error) || isHeadRefused(request.method, error) ? 'answered' : error
      return { error }
    } finally {
      this.#endpoints.report(endpoint, result, request)
      if (answer) answer.body.onOver(end)
      else end()
    }
  }
}

// A 400 to a push says that the pushed content is wrong; a 400 to a GET says that the endpoint is.
function isRefusedWrite({ method }: UpstreamRequest, { kind, status = 0 }: UpstreamError): boolean {
  return method !== 'GET' && method !== 'HEAD' && kind === 'invalid' && status >= 400 && status < 500
}

// A rate limit says that the request was not processed. An upload session that a silent replica may have begun ends by
// itself.
function mayGoElsewhere({ method }: UpstreamRequest, { kind, code = '' }: UpstreamError): boolean {
  return kind === 'limited' || unsent.test(code) || (code === silentCode && method === 'POST')
}

function isFinal({ kind }: UpstreamError): boolean {
  return kind === 'unauthorized' || kind === 'denied' || kind === 'unsatisfiable'
}

/** Whether the same request may succeed a moment later. Not after a timeout of ours: that was the moment. */
export function isTransient({ kind, status, retryableAfterMs }: UpstreamError): boolean {
  if (kind === 'timeout') return status === 408
  return (kind === 'unreachable' || kind === 'broken') && retryableAfterMs !== undefined
}

function soonest(errors: readonly UpstreamError[]): UpstreamError | undefined {
  return errors.filter(isLimited).toSorted((a, b) => (a.retryAfter ?? 0) - (b.retryAfter ?? 0))[0]
}

function isMissing({ kind }: UpstreamError): boolean {
  return kind === 'not-found'
}

// The connection ended, and no answer of the registry says why.
function wasCut(error: UpstreamError): boolean {
  return error.status === undefined && error.kind === 'broken' && isTransient(error)
}

// A replica that could not be asked may have the content, and one that refuses our password too.
function ofReplicas(errors: readonly UpstreamError[]): UpstreamError {
  const refused = ({ kind }: UpstreamError) => kind === 'unauthorized' || kind === 'denied'
  const unasked = errors.findLast(each => !isMissing(each) && !refused(each) && !isLimited(each))
  const error = unasked ?? soonest(errors) ?? errors.findLast(refused) ?? errors.at(-1)
  if (!error) throw new Error('an upstream has no endpoint')
  return error
}
