import type { LookupFunction } from 'node:net'
import type { RateLimiter } from '../../storage/rate-limiter.ts'

/** Which registry an upstream is, and how it is reached. */
export interface UpstreamOptions {
  /** Origins that hold the same content (mirrors, replicas), in order of preference. */
  endpoints: readonly URL[]
  credentials?: { username: string; password: string }
  /** PEM, trusted beside the system's roots. */
  ca?: string
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY as given: this client reads no environment. */
  proxy?: ProxySettings
  /** Hosts (`host` or `host:port`) of token services, besides the endpoint's host and its registrable domain. */
  tokenHosts: readonly string[]
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

/** Dependencies that tests replace; the defaults are the real ones. */
export interface UpstreamHooks {
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
  | { type: 'breaker'; endpoint: string; until: number }
  | { type: 'token'; endpoint: string; result: 'granted' | 'failed' }

/** The health of an endpoint, for `/status`. Times are in ms since the epoch. */
export interface EndpointHealth {
  url: string
  healthy: boolean
  lastError?: { message: string; at: number }
  /** The end of a rate limit; until then no request is sent. */
  openUntil?: number
}
