import type { UpstreamConfig } from '../../config/schema.ts'
import { isName, type Name } from '../oci/name.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { contentName, mapName, nameBelow, unmapName } from './name-mapping.ts'

/** An upstream, and which names here are whose names there. */
export interface UpstreamRoute {
  upstream: Upstream
  /** What content from it is marked with: `<host>/<path>`. */
  origin: string
  /** The name upstream of a name here; undefined: upstream has no such repository. */
  upstreamName(name: Name): string | undefined
  /** The name under which content is kept here. */
  contentName(name: Name): Name
  /** The name here of what is kept under a name, the reverse of `contentName`; undefined for content that is not this upstream's. */
  nameOfContent(kept: Name): Name | undefined
  /** The name here of an upstream's name, for catalogs. */
  localName(upstreamName: string): Name | undefined
}

/** What stands behind `server.path`: `<path>[/…]` here is `<upstream's path>[/…]` there. */
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

/** What stands behind one `ns=`: names are the same there, and kept below a prefix of their own here. */
export function namespaceRoute(host: string, upstream: Upstream): UpstreamRoute {
  return {
    upstream,
    origin: host,
    upstreamName: name => name,
    contentName: name => contentName(host, name),
    nameOfContent: kept => nameBelow(host, kept),
    localName: name => (isName(name) ? name : undefined)
  }
}
