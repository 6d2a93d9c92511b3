import type { Name } from '../../oci/name.ts'

/** The key of the upstream of `server.path`, and of all content that is no namespace's. */
export const platform = ''

/** The upstreams that share a cache, by keys: the namespace, or `platform`. */
export interface CacheShares {
  /** The upstream that the content of `name` belongs to. */
  upstreamOf(name: Name): string
  /** The upstreams that are cached at present. */
  upstreams(): ReadonlySet<string>
}

/** A cache that one upstream has to itself. */
export const undivided: CacheShares = { upstreamOf: () => platform, upstreams: () => new Set([platform]) }

/** An upstream for people. */
export function upstreamText(upstream: string): string {
  return upstream === platform ? 'the upstream of server.path' : upstream
}
