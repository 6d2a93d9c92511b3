import type { Config } from '../../config/schema.ts'
import type { Content } from '../content/content.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { UpstreamError } from '../upstream/error.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { keyOfNamespace, keyOfOwn } from './build.ts'
import type { UpstreamRoute } from './routes.ts'
import { namespaceRoute, ownRoute } from './routes.ts'

// An upstream that takes longer is not one to fetch everything from again.
const timeoutMs = 25_000

/** What `expiryOf` looks at; the configuration and the upstreams are those in force. */
export interface ExpiryView {
  config: Config
  upstreams: ReadonlyMap<string, Upstream>
  content: Content
}

/**
 * The time before which content of a name was last asked for that expires now; undefined for a name of which nothing does. Content expires in Proxy mode only, and only
 * while its upstream can be asked for it again: each upstream is asked once for something that is cached, and has to give it or to say that it has no such thing.
 */
export async function expiryOf(view: ExpiryView, now: number, signal: AbortSignal): Promise<(name: Name) => number | undefined> {
  const { ttl } = view.config.registry.upstream ?? {}
  if (view.config.registry.mode !== 'Proxy' || ttl === undefined) return () => undefined
  const routes: UpstreamRoute[] = []
  for (const route of cachedRoutes(view)) if (await canBeAsked(route, view.content, signal)) routes.push(route)
  return name => (routes.some(each => each.nameOfContent(name) !== undefined) ? now - ttl : undefined)
}

function cachedRoutes({ config, upstreams }: ExpiryView): UpstreamRoute[] {
  const { upstream: own, upstreams: others } = config.registry
  const asked = own && upstreams.get(keyOfOwn(own))
  const further = Object.entries(others).flatMap(([host, { policy }]) => {
    const each = policy === 'cache' ? upstreams.get(keyOfNamespace(host)) : undefined
    return each ? [namespaceRoute(host, each)] : []
  })
  return asked ? [ownRoute(config.server.path, own, asked), ...further] : further
}

async function canBeAsked(route: UpstreamRoute, content: Content, signal: AbortSignal): Promise<boolean> {
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
