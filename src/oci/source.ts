import type { Descriptor } from './descriptor.ts'
import type { Digest } from './digest.ts'
import type { Name, Reference } from './name.ts'
import type { Part, RangeRequest } from './range.ts'

/** How an answer came about: `hit` from what is stored, `miss` filled for this request, `join` another's fill, `stale` upstream could not be asked, `bypass` not stored. */
export type Outcome = 'hit' | 'miss' | 'join' | 'stale' | 'bypass'

/** A value and how it came about; `warning` is for the `Warning` field (distribution-spec, "Warnings"). */
export interface Served<T> {
  value: T
  outcome: Outcome
  /** Seconds since the value was last known to be the upstream's. */
  age?: number
  warning?: string
}

/** Bytes that can be read at any position. Whoever opened it closes it. */
export interface Body {
  /** Bodies with the same one have the same bytes at the same positions as long as they have it, so that what one reads may be given to the readers of all of them. */
  readonly identity?: string | object | undefined
  /** Resolves when `readInto` would not wait for bytes that are still to come; undefined if it would not now. May reject as it does. */
  ready?(position: number): Promise<void> | undefined
  /** Reads at most `into.length` bytes at `position` (absolute); 0 is the end. */
  readInto(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/**
 * A blob that is open: `size` of the whole, if it is known; `part` what was selected of it, of infinite length where the size is not known (undefined: the range is
 * unsatisfiable).
 */
export interface OpenBlob {
  size: number | undefined
  part: Part | undefined
  body: Body
}

/** A blob that the client is to fetch itself, by a GET of this URL. */
export interface BlobLocation {
  location: string
}

/** What of a blob is wanted, and whether the source may name a place instead of opening it. */
export interface BlobRequest {
  range?: RangeRequest
  redirect?: 'allowed'
  signal: AbortSignal
}

/** A manifest's bytes, exactly as they were pushed. */
export interface Manifest {
  descriptor: Descriptor
  bytes: Uint8Array
}

/** Part of an ordered list: `next` is the `last` of the following request, if there is more. */
export interface Page<T> {
  items: T[]
  next?: string
}

/** Which part of an ordered list is wanted: at most `n` items after `last`. */
export interface PageRequest {
  n?: number
  last?: string
}

/** Anything that content can be pulled from. What is not there is an OciError: NAME_UNKNOWN, MANIFEST_UNKNOWN or BLOB_UNKNOWN. */
export interface Source {
  statBlob(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>>
  openBlob(name: Name, digest: Digest, want: BlobRequest & { redirect?: never }): Promise<Served<OpenBlob>>
  openBlob(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>>
  statManifest(name: Name, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>>
  getManifest(name: Name, reference: Reference, want: { signal: AbortSignal }): Promise<Served<Manifest>>
  /** Tags in byte order (distribution-spec, "Listing Tags"). */
  listTags(name: Name, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>>
  /** Never fails for an unknown name or digest: the list is empty (distribution-spec, "Listing Referrers"). */
  listReferrers(
    name: Name,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>>
  /** Names of repositories in byte order. */
  listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>>
}
