import type { UpstreamConfig } from '../../config/schema.ts'
import { isName, type Name } from '../oci/name.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { contentName, mapName, nameBelow, unmapName } from './name-mapping.ts'

/** An upstream, and the mapping of names. */
export interface UpstreamRoute {
  upstream: Upstream
  /** The host that `ns=` names; absent for the route of `server.path`. */
  namespace?: string
  /** The upstream in provenance records: `<host>/<path>`. */
  origin: string
  /** The upstream's name for a name here; undefined if the name is not the upstream's. */
  upstreamName(name: Name): string | undefined
  /** The name under which content is stored. */
  contentName(name: Name): Name
  /** The reverse of `contentName`; undefined for content of another upstream. */
  nameOfContent(kept: Name): Name | undefined
  /** The name here for an upstream's name, for catalogs. */
  localName(upstreamName: string): Name | undefined
}

/** The route of `server.path`: `<path>[/…]` here is `<upstream's path>[/…]` there. */
export function ownRoute(path: string, { host, path: there }: Pick<UpstreamConfig, 'host' | 'path'>, upstream: Upstream): UpstreamRoute {
  return {
    upstream,
    origin: there === '' ? host : `${host}/${there}`,
    upstreamName: name => mapName(name, path, there),
    contentName: name => name,
    nameOfContent: kept => (mapName(kept, path, there) === undefined ? undefined : kept),
    localName: name => unmapName(name, path, there)
  }
}

/** A route on which names are the same on both sides. */
export function identityRoute(origin: string, upstream: Upstream): UpstreamRoute {
  return {
    upstream,
    origin,
    upstreamName: name => name,
    contentName: name => name,
    nameOfContent: kept => kept,
    localName: name => (isName(name) ? name : undefined)
  }
}

/** The route of one namespace (`ns=`): names are the same there, and content is stored under a prefix of its own. */
export function namespaceRoute(host: string, upstream: Upstream): UpstreamRoute {
  return {
    ...identityRoute(host, upstream),
    namespace: host,
    contentName: name => contentName(host, name),
    nameOfContent: kept => nameBelow(host, kept)
  }
}
