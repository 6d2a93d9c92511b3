import type { LookupFunction } from 'node:net'
import type { RateLimiter } from '../../storage/rate-limiter.ts'

/** Which registry an upstream is, and how it is reached. */
export interface UpstreamOptions {
  /** Origins that hold the same content (mirrors, replicas), in order of preference. */
  endpoints: readonly URL[]
  credentials?: { username: string; password: string }
  /** PEM, trusted beside the system's roots, or with `roots: 'own'` in their place. */
  ca?: string
  roots?: 'own'
  /** Fields of each request to an endpoint. */
  headers?: Readonly<Record<string, string>>
  /** The registry that the endpoints are asked to stand for, as `ns=` in each request. */
  namespace?: string
  /** The largest manifest that is read, in bytes; 4 MiB by default, 8 MiB at most. */
  manifestBytes?: number
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY as given: this client reads no environment. */
  proxy?: ProxySettings
  /** Hosts (`host` or `host:port`) of token services, besides each endpoint's own host and port. */
  tokenHosts: readonly string[]
  /** Hosts (`host` or `host:port`) that redirects may lead to although their address is not public. */
  redirectHosts: readonly string[]
  /** How a cached tag is compared: by HEAD where each GET counts as a pull, elsewhere by a conditional GET. */
  revalidate: 'head' | 'get'
  limits: UpstreamLimits
}

/** Which proxy stands before which scheme, and which hosts need none. */
export interface ProxySettings {
  http?: string
  https?: string
  none?: string
}

/** Connections per origin; the times are in milliseconds. */
export interface UpstreamLimits {
  connections: number
  connectTimeout: number
  /** From the request to the head of its response. */
  headerTimeout: number
  /** Between two pieces of a body. */
  bodyTimeout: number
}

/** An endpoint as a ReplicaPolicy sees it. */
export interface EndpointState {
  readonly url: URL
  /** Whether its backoff is over. */
  readonly healthy: boolean
  /** Requests to it that are under way, with the bodies of their responses. */
  readonly running: number
}

/**
 * How requests to endpoints that are replicas of each other are spread. With it a GET or HEAD asks all of them before
 * it fails, whatever one answers, and none is waited for that does not answer at all.
 */
export interface ReplicaPolicy {
  /** The endpoints in the order in which they are asked for `path`; without one, by preference. */
  order(endpoints: readonly EndpointState[], path?: string): URL[]
  /** After how many ms without an answer the next endpoint is asked as well. */
  hedgeAfterMs(): number
  /** After how many ms without a byte an endpoint is probed, and how long the probe may take. */
  silenceMs: number
  probeMs: number
  /** Called when the bytes that endpoints gave for `path` were not those of its digest. */
  onWrong(endpoints: readonly URL[], path: string): void
}

/** Dependencies that tests replace; the defaults are the real ones. */
export interface UpstreamHooks {
  replicas?: ReplicaPolicy
  /** Milliseconds since the epoch. */
  now?: () => number
  /** In [0, 1), for jitter. */
  random?: () => number
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>
  observe?: (event: UpstreamEvent) => void
  lookup?: LookupFunction
  /** The rate limit for the bytes of blobs, shared by all upstreams. */
  ingress?: RateLimiter | undefined
}

/** What a request is for; the label `asked` of metrics. */
export type UpstreamResource = 'blob' | 'manifest' | 'tags' | 'names' | 'referrers' | 'upload'

/** The methods of the distribution-spec. */
export type UpstreamMethod = 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'

/** What happened between this process and an upstream; `endpoint` is a host with its port. */
export type UpstreamEvent =
  | { type: 'answer'; endpoint: string; resource: UpstreamResource; method: UpstreamMethod; status: number; ms: number }
  | { type: 'failure'; endpoint: string; resource: UpstreamResource; method: UpstreamMethod; error: Error; ms: number }
  | { type: 'body'; endpoint: string; bytes: number; result: 'complete' | 'broken' | 'cancelled' }
  | { type: 'resume'; endpoint: string; offset: number }
  | { type: 'hedge'; endpoint: string; resource: UpstreamResource }
  | { type: 'wrong'; endpoint: string; path: string }
  | { type: 'probe'; endpoint: string; result: 'answered' | 'failed' }
  | { type: 'breaker'; endpoint: string; resource: UpstreamResource; scope: string; until: number }
  | { type: 'token'; endpoint: string; result: 'granted' | 'failed' }

/** The health of an endpoint, for `/status`. Times are in ms since the epoch. */
export interface EndpointHealth {
  url: string
  /** False beside a refusal or an error that no response has followed, and while a rate limit is in force. */
  healthy: boolean
  lastError?: { message: string; at: number }
  /** Of replicas: requests to it that are under way. */
  running?: number
  /** The end of the last rate limit; until its end nothing is requested of what a limit applies to. */
  openUntil?: number
}
