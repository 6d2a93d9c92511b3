import type { Config, UpstreamConfig } from '../../config/schema.ts'
import type { RateLimiter } from '../../storage/rate-limiter.ts'
import type { Content } from '../content/content.ts'
import type { Fills } from '../content/fill/fills.ts'
import type { Sink } from '../oci/sink.ts'
import type { Upstream, UpstreamEvent } from '../upstream/upstream.ts'
import type { Backend } from './backend.ts'
import { DirectBackend } from './direct.ts'
import { LocalBackend } from './local.ts'
import { ProxyBackend } from './proxy.ts'
import type { UpstreamRoute } from './routes.ts'
import { namespaceRoute, ownRoute } from './routes.ts'
import type { Backends } from './switch.ts'

/** What backends share, whatever the configuration. */
export interface BackendDeps {
  content: Content
  /** Takes what is pushed in Local mode. */
  sink: Sink
  fills: Fills
  observe: (event: UpstreamEvent) => void
  /** The rate limit for what comes from upstreams. */
  ingress?: RateLimiter | undefined
}

// A client may wait before it follows a redirect, and pause. The grace period of garbage collection is longer.
const redirectTtlSeconds = 600

/**
 * Makes the backends of a configuration and their upstreams. Nothing is connected to: a registry starts with its
 * upstream down.
 */
export async function buildBackends(config: Config, deps: BackendDeps): Promise<{ backends: Backends; upstreams: Map<string, Upstream> }> {
  const upstreams = new Map<string, Upstream>()
  const upstream = async (key: string, route: UpstreamConfig): Promise<Upstream> => {
    // Loaded only if there is an upstream: the client takes some MiB and 100 ms.
    const { Upstream } = await import('../upstream/upstream.ts')
    const made = new Upstream(
      {
        endpoints: route.endpoints.map(each => new URL(each)),
        tokenHosts: config.upstream.tokenHosts,
        redirectHosts: config.upstream.redirectHosts,
        limits: config.upstream,
        revalidate: route.revalidate ?? 'get',
        ...(route.credentials ? { credentials: route.credentials } : {}),
        ...(route.ca === undefined ? {} : { ca: route.ca }),
        ...(config.upstream.proxy ? { proxy: config.upstream.proxy } : {})
      },
      { observe: deps.observe, ingress: deps.ingress }
    )
    upstreams.set(key, made)
    return made
  }
  const { redirect: wanted } = config.storage.s3 ?? {}
  const redirect = wanted && { overBytes: wanted.over, validSeconds: redirectTtlSeconds }
  const cached = (route: UpstreamRoute) =>
    new ProxyBackend(deps.content, deps.fills, route, { cache: config.cache, maxFills: config.upstream.fills, redirect })

  const { mode, upstream: own, upstreams: others } = config.registry
  const byHost = new Map<string, Backend>()
  for (const [host, each] of Object.entries(others)) {
    const route = namespaceRoute(host, await upstream(keyOfNamespace(host), each))
    byHost.set(host, each.policy === 'cache' ? cached(route) : new DirectBackend(route))
  }
  const names = new Set(config.server.names.map(each => each.toLowerCase()))
  if (!own || mode === 'Local') return { backends: { own: new LocalBackend(deps.content, deps.sink, redirect), names, byHost }, upstreams }
  const route = ownRoute(config.server.path, own, await upstream(keyOfOwn(own), own))
  if (mode === 'Direct') return { backends: { own: new DirectBackend(route), names, byHost }, upstreams }
  const stored = new LocalBackend(deps.content, deps.sink, redirect)
  return { backends: { own: cached(route), stored, names, byHost }, upstreams }
}

/** The key of the upstream that requests without `ns=` go to. */
export function keyOfOwn({ host, path }: Pick<UpstreamConfig, 'host' | 'path'>): string {
  return `${host}/${path}`
}

/** The key of the upstream of a namespace (`ns=`). */
export function keyOfNamespace(host: string): string {
  return `ns=${host}`
}
