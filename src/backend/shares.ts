import type { Config } from '../../config/schema.ts'
import { type CacheShares, platform } from '../content/fill/shares.ts'
import { hostOfContent } from './name-mapping.ts'

/** The upstreams that share the cache of the configuration in force: namespaces, and the platform. */
export function cacheShares(config: () => Config): CacheShares {
  let known: { registry: Config['registry']; upstreams: ReadonlySet<string> } | undefined
  return {
    upstreamOf: name => hostOfContent(name)?.host ?? platform,
    upstreams: () => {
      const { registry } = config()
      if (known?.registry !== registry) known = { registry, upstreams: cachedUpstreams(registry) }
      return known.upstreams
    }
  }
}

function cachedUpstreams({ mode, upstream, upstreams }: Config['registry']): ReadonlySet<string> {
  const cached = Object.entries(upstreams).filter(([, { policy }]) => policy === 'cache')
  const hosts = cached.map(([host]) => host.toLowerCase())
  return new Set(mode === 'Proxy' && upstream ? [platform, ...hosts] : hosts)
}
