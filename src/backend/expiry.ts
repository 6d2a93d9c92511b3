import type { Config } from '../../config/schema.ts'
import type { Content } from '../content/content.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { UpstreamError } from '../upstream/error.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { keyOfNamespace, keyOfOwn } from './build.ts'
import type { UpstreamRoute } from './routes.ts'
import { namespaceRoute, ownRoute } from './routes.ts'

// A slower upstream counts as unavailable: everything that expires has to be fetched from it again.
const timeoutMs = 25_000

/** What `expiryOf` reads; configuration and upstreams are those in force. */
export interface ExpiryView {
  config: Config
  upstreams: ReadonlyMap<string, Upstream>
  content: Content
}

/**
 * For a name: cached content whose last access is before the returned time (ms since the epoch) expires; undefined if
 * none does. Content expires in Proxy mode only, and only while its upstream is available: each is requested one cached
 * manifest, and has to return it or a 404.
 */
export async function expiryOf(view: ExpiryView, now: number, signal: AbortSignal): Promise<(name: Name) => number | undefined> {
  const { ttl } = view.config.registry.upstream ?? {}
  if (view.config.registry.mode !== 'Proxy' || ttl === undefined) return () => undefined
  const routes: UpstreamRoute[] = []
  for (const route of cachedRoutes(view)) if (await isAvailable(route, view.content, signal)) routes.push(route)
  return name => (routes.some(each => each.nameOfContent(name) !== undefined) ? now - ttl : undefined)
}

function cachedRoutes({ config, upstreams }: ExpiryView): UpstreamRoute[] {
  const { upstream: own, upstreams: others } = config.registry
  const first = own && upstreams.get(keyOfOwn(own))
  const further = Object.entries(others).flatMap(([host, { policy }]) => {
    const each = policy === 'cache' ? upstreams.get(keyOfNamespace(host)) : undefined
    return each ? [namespaceRoute(host, each)] : []
  })
  return first ? [ownRoute(config.server.path, own, first), ...further] : further
}

async function isAvailable(route: UpstreamRoute, content: Content, signal: AbortSignal): Promise<boolean> {
  const cached = await anyCached(route, content)
  if (!cached) return false
  try {
    await route.upstream.statManifest(cached.there, { digest: cached.digest }, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))
    return true
  } catch (error) {
    signal.throwIfAborted()
    return error instanceof UpstreamError && error.kind === 'not-found'
  }
}

async function anyCached(route: UpstreamRoute, content: Content): Promise<{ there: string; digest: Digest } | undefined> {
  for await (const kept of content.provenance.names()) {
    const name = route.nameOfContent(kept)
    const there = name === undefined ? undefined : route.upstreamName(name)
    if (there === undefined) continue
    for await (const digest of content.provenance.list(kept)) return { there, digest }
  }
  return undefined
}
