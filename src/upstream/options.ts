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
  | { type: 'breaker'; endpoint: string; resource: UpstreamResource; scope: string; until: number }
  | { type: 'token'; endpoint: string; result: 'granted' | 'failed' }

/** The health of an endpoint, for `/status`. Times are in ms since the epoch. */
export interface EndpointHealth {
  url: string
  /** False beside a refusal or an error that no response has followed, and while a rate limit is in force. */
  healthy: boolean
  lastError?: { message: string; at: number }
  /** The end of the last rate limit; until its end nothing is requested of what a limit applies to. */
  openUntil?: number
}
