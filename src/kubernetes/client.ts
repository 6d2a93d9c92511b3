import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Dispatcher, request as requestBy } from 'undici'
import { ApiError, errorOfAnswer } from './api-error.ts'
import type { ClusterAccess } from './kubeconfig.ts'
import type { KubernetesObject } from './object.ts'

/** A request to the API server. */
export interface ClusterRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With its query. */
  path: string
  body?: unknown
  contentType?: string
  signal?: AbortSignal | undefined
}

/** An event of a watch (Kubernetes API concepts, "Efficient detection of changes"). */
export interface WatchEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  object: KubernetesObject
}

/** What happened between this process and the API server. */
export interface ClientHooks {
  answered?(method: ClusterRequest['method'], status: number): void
}

const contentTypes = { apply: 'application/apply-patch+yaml', merge: 'application/merge-patch+json' } as const
const connectTimeoutMs = 5_000
const answerTimeoutMs = 30_000
const maxTries = 4
const firstPauseMs = 250
const longestPauseMs = 10_000
// An object has 1.5 MiB at most, and lists are asked for in pages.
const maxBodyBytes = 64 * 1024 * 1024

/** A client of the Kubernetes API: JSON over HTTP, watches, server-side apply. Errors are ApiErrors. */
export class KubernetesClient {
  readonly #access: ClusterAccess
  readonly #agent: Agent
  readonly #hooks: ClientHooks
  readonly #origin: string
  readonly #prefix: string

  constructor(access: ClusterAccess, hooks: ClientHooks = {}) {
    const { server, ca, cert, key } = access
    const url = new URL(server)
    this.#access = access
    this.#hooks = hooks
    this.#origin = url.origin
    this.#prefix = url.pathname.replace(/\/$/, '')
    const tls = { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) }
    this.#agent = new Agent({
      connect: { timeout: connectTimeoutMs, ...tls },
      headersTimeout: answerTimeoutMs,
      bodyTimeout: answerTimeoutMs
    })
  }

  get<T = KubernetesObject>(path: string, signal?: AbortSignal): Promise<T> {
    return this.call({ method: 'GET', path, signal }) as Promise<T>
  }

  create(path: string, object: KubernetesObject, signal?: AbortSignal): Promise<KubernetesObject> {
    return this.call({ method: 'POST', path: withManager(path), body: object, signal }) as Promise<KubernetesObject>
  }

  /** Replaces an object; its resourceVersion has to be the present one. */
  update(path: string, object: KubernetesObject, signal?: AbortSignal): Promise<KubernetesObject> {
    return this.call({ method: 'PUT', path: withManager(path), body: object, signal }) as Promise<KubernetesObject>
  }

  /**
   * Makes the object's fields this client's own (Kubernetes documentation, "Server-Side Apply"). With a resourceVersion
   * it is refused if the object has changed since.
   */
  apply(path: string, object: KubernetesObject, signal?: AbortSignal): Promise<KubernetesObject> {
    const forced = `${withManager(path)}&force=true`
    return this.call({ method: 'PATCH', path: forced, body: object, contentType: contentTypes.apply, signal }) as Promise<KubernetesObject>
  }

  /** Merges fields into an object (RFC 7396); all others stay. */
  merge(path: string, patch: object, signal?: AbortSignal): Promise<KubernetesObject> {
    return this.call({
      method: 'PATCH',
      path: withManager(path),
      body: patch,
      contentType: contentTypes.merge,
      signal
    }) as Promise<KubernetesObject>
  }

  /** Removes the object that has this uid and resourceVersion, and no other one of the name. */
  remove(path: string, { uid, resourceVersion }: { uid?: string; resourceVersion?: string }, signal?: AbortSignal): Promise<unknown> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Background', preconditions: { uid, resourceVersion } }
    return this.call({ method: 'DELETE', path, body, signal })
  }

  /** One request, and again while the server is only busy or does not answer; a write only where it was not begun. */
  async call(request: ClusterRequest): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#once(request)
      } catch (error) {
        const again = error instanceof ApiError && (request.method === 'GET' ? error.isPassing : error.status === 429)
        if (!again || tries === maxTries || request.signal?.aborted) throw error
        const pause = error.retryAfterMs ?? firstPauseMs * 2 ** tries
        await sleep(Math.min(pause, longestPauseMs) * (0.75 + Math.random() / 2), undefined, { signal: request.signal })
      }
    }
  }

  async #once(request: ClusterRequest): Promise<unknown> {
    const answer = await this.#send(request, { headersTimeout: answerTimeoutMs, bodyTimeout: answerTimeoutMs })
    const text = await readAll(answer.body, request)
    this.#hooks.answered?.(request.method, answer.statusCode)
    if (answer.statusCode >= 300) throw errorOfAnswer(request, answer.statusCode, text, fieldOf(answer.headers['retry-after']))
    try {
      return text === '' ? undefined : JSON.parse(text)
    } catch (cause) {
      throw new ApiError(`${request.method} ${request.path}: the answer is no JSON`, { status: 0, reason: '', cause })
    }
  }

  /** The events of a watch, to its end. `silentMs`: how long no byte may come; `opened`: the server has accepted it. */
  async *watch(
    path: string,
    { signal, silentMs, opened }: { signal: AbortSignal; silentMs: number; opened(): void }
  ): AsyncGenerator<WatchEvent, void> {
    const request: ClusterRequest = { method: 'GET', path, signal }
    const answer = await this.#send(request, { headersTimeout: answerTimeoutMs, bodyTimeout: silentMs })
    this.#hooks.answered?.('GET', answer.statusCode)
    if (answer.statusCode !== 200) {
      throw errorOfAnswer(request, answer.statusCode, await readAll(answer.body, request), fieldOf(answer.headers['retry-after']))
    }
    opened()
    try {
      for await (const line of linesOf(answer.body)) yield JSON.parse(line) as WatchEvent
    } catch (error) {
      if (!signal.aborted) throw noAnswer(request, error)
    }
  }

  async #send(request: ClusterRequest, timeouts: { headersTimeout: number; bodyTimeout: number }): Promise<Dispatcher.ResponseData> {
    const { method, path, body, contentType = 'application/json', signal } = request
    const headers = {
      accept: 'application/json',
      ...(await this.#authorization()),
      ...(body === undefined ? {} : { 'content-type': contentType })
    }
    try {
      return await requestBy(new URL(this.#prefix + path, this.#origin), {
        dispatcher: this.#agent,
        method,
        headers,
        ...timeouts,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal ? { signal } : {})
      })
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      this.#hooks.answered?.(method, 0)
      throw noAnswer(request, error)
    }
  }

  async #authorization(): Promise<{ authorization?: string }> {
    const { token, tokenFile } = this.#access
    const text = tokenFile === undefined ? token : (await readFile(tokenFile, 'utf8')).trim()
    return text === undefined ? {} : { authorization: `Bearer ${text}` }
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

function withManager(path: string): string {
  return `${path}${path.includes('?') ? '&' : '?'}fieldManager=registry-controller`
}

function noAnswer({ method, path }: ClusterRequest, cause: unknown): ApiError {
  const inner = cause instanceof AggregateError ? (cause.errors[0] as Error) : (cause as Error)
  return new ApiError(`${method} ${path.split('?')[0]}: the API server does not answer: ${inner?.message || 'unknown cause'}`, {
    status: 0,
    reason: '',
    cause
  })
}

async function readAll(body: AsyncIterable<Buffer>, request: ClusterRequest): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of body) {
      size += chunk.length
      if (size > maxBodyBytes) throw new Error(`the answer has more than ${maxBodyBytes} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (request.signal?.aborted) throw request.signal.reason
    throw noAnswer(request, error)
  }
  return Buffer.concat(chunks).toString()
}

async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = `${rest}${decoder.decode(chunk, { stream: true })}`.split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > maxBodyBytes) throw new Error('an event has no end')
    for (const line of lines) if (line !== '') yield line
  }
}

function fieldOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
