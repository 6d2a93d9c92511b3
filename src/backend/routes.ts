import type { UpstreamConfig } from '../../config/schema.ts'
import { isName } from '../oci/name.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { contentName, mapName, nameBelow, unmapName } from './name-mapping.ts'
import type { UpstreamRoute } from './route.ts'

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
