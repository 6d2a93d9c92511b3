import type { EndpointHealth } from '../upstream/upstream.ts'

/** Why a pull does not work, or what is wrong although it does; `none`: nothing is. */
export type Cause =
  | 'none'
  | 'not-running'
  | 'malformed-reference'
  | 'unknown-host'
  | 'outside-path'
  | 'dns'
  | 'connection-refused'
  | 'unreachable'
  | 'timeout'
  | 'tls-untrusted'
  | 'tls-expired'
  | 'tls-name'
  | 'tls'
  | 'unauthorized'
  | 'denied'
  | 'rate-limited'
  | 'wrong-path'
  | 'repository-unknown'
  | 'tag-unknown'
  | 'manifest-unknown'
  | 'blob-unknown'
  | 'not-a-registry'
  | 'redirect-refused'
  | 'upstream-broken'
  | 'damaged'
  | 'disk-full'
  | 'disk'

/** The outcome of one step of a request to the upstream. */
export type Step = 'yes' | 'no' | 'unknown' | 'not needed'

/** How a pull of the reference is served. */
export interface PullRoute {
  mode: 'Direct' | 'Proxy' | 'Local'
  /** The repository here. */
  name: string
  /** The name under which it is stored, if that is another one. */
  storedAs?: string
  /** `<host>/<path>` of the upstream, and the repository there. */
  upstream?: string
  upstreamName?: string
  anonymousPull: 'allowed' | 'refused'
}

/** The upstream's answer to a request for the manifest, sent for this report. */
export interface UpstreamAnswer {
  endpoints: readonly EndpointHealth[]
  /** The user that is sent; absent for anonymous requests. */
  username?: string
  name: Step
  connection: Step
  certificate: Step
  access: Step
  found: Step
  status?: number
  ms: number
  /** Its digest for the reference. */
  digest?: string
  /** The error message. */
  told?: string
}

/** Where content is: `here` in the storage, `upstream` only there, `unknown` if the upstream gave no answer. */
export type ContentState = 'here' | 'upstream' | 'missing' | 'damaged' | 'unknown'

/** A blob that the image needs. */
export interface BlobLine {
  digest: string
  size: number
  state: ContentState
  note?: string
}

/** A manifest that the reference leads to, with its blobs; an index has one for each platform. */
export interface ManifestLine {
  digest: string
  size: number
  state: ContentState
  platform?: string
  note?: string
  blobs: BlobLine[]
}

/** What is stored under the reference itself. */
export interface StoredReference {
  digest?: string
  state: ContentState
  /** `pushed`, or the upstream that it was cached from. */
  origin?: string
  /** Seconds since the tag was last checked upstream. */
  age?: number
  /** Whether the tag is served without a request to the upstream. */
  fresh?: 'yes' | 'no'
}

/** The storage and its free space. */
export interface DiskReport {
  root: string
  free?: number
  total?: number
  writable: 'yes' | 'no' | 'full'
  /** Why it accepts no bytes. */
  told?: string
}

/** Why a pull of the reference works or does not. Its members are the JSON of `registry why --json`. */
export interface Report {
  reference: string
  works: boolean
  cause: Cause
  /** One sentence: what to do. */
  advice: string
  route?: PullRoute
  stored?: StoredReference
  upstream?: UpstreamAnswer
  /** What a pull would get now. */
  manifest?: { digest: string; mediaType: string; size: number; from: 'store' | 'upstream' | 'store, as the last known' }
  manifests?: ManifestLine[]
  /** Tags that are similar to the one that is not there. */
  near?: string[]
  disk?: DiskReport
}
