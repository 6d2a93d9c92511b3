import type { Name } from '../oci/name.ts'
import type { Upstream } from '../upstream/upstream.ts'

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
