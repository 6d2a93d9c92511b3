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

/** Whether one thing on the way to the upstream's answer held. */
export type Step = 'yes' | 'no' | 'unknown' | 'not needed'

/** The way that a pull of the reference takes. */
export interface PullRoute {
  mode: 'Direct' | 'Proxy' | 'Local'
  /** The repository here. */
  name: string
  /** Under which name it is stored, where that is another. */
  storedAs?: string
  /** `<host>/<path>` of what is asked, and the repository there. */
  upstream?: string
  upstreamName?: string
  anonymousPull: 'allowed' | 'refused'
}

/** What the upstream answered when it was asked for the manifest just now. */
export interface UpstreamAnswer {
  endpoints: readonly EndpointHealth[]
  /** The user that is sent; absent where it is asked anonymously. */
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
  /** What went wrong, in the client's own words. */
  told?: string
}

/** Where content is: `here` in the store, `upstream` only there, `unknown` if nobody could be asked. */
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
  /** Since when the tag was known to be the upstream's, in seconds. */
  age?: number
  /** Whether the tag is served without asking. */
  fresh?: 'yes' | 'no'
}

/** The store's disk. */
export interface DiskReport {
  root: string
  free?: number
  total?: number
  writable: 'yes' | 'no' | 'full'
  /** Why it takes nothing. */
  told?: string
}

/** Everything that is known about why a pull of the reference works or does not. */
export interface Report {
  reference: string
  works: boolean
  cause: Cause
  /** One sentence that says what to do. */
  advice: string
  route?: PullRoute
  stored?: StoredReference
  upstream?: UpstreamAnswer
  /** What a pull would get now. */
  manifest?: { digest: string; mediaType: string; size: number; from: 'store' | 'upstream' | 'store, as the last known' }
  manifests?: ManifestLine[]
  /** Tags that look like the one that is not there. */
  near?: string[]
  disk?: DiskReport
}
