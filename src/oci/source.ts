import type { Descriptor } from './descriptor.ts'
import type { Digest } from './digest.ts'
import type { Name, Reference } from './name.ts'
import type { Part, RangeRequest } from './range.ts'

/**
 * How a response came about. `hit`: stored. `miss`: filled for this request. `join`: by a running fill. `stale`:
 * stored, and upstream failed. `bypass`: passed through, not stored.
 */
export type Outcome = 'hit' | 'miss' | 'join' | 'stale' | 'bypass'

/** A value and how it came about. `warning` is for the `Warning` field (distribution-spec, "Warnings"). */
export interface Served<T> {
  value: T
  outcome: Outcome
  /** Seconds since the value was last validated at the upstream. */
  age?: number
  warning?: string
}

/** Bytes that can be read at any position. The caller that opened it closes it. */
export interface Body {
  /** Bodies of the same identity have the same bytes at the same positions, so that a reader group may share chunks. */
  readonly identity?: string | object | undefined
  /**
   * Resolves when `readInto` at `position` would not wait for a fill; undefined if it would not now. Rejects like
   * `readInto`.
   */
  ready?(position: number): Promise<void> | undefined
  /** Reads at most `into.length` bytes at `position` of the blob, and resolves to their number; 0 at the end. */
  readInto(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/**
 * A blob that is open. `size` is of the whole, in bytes, if it is known. `part` is the selected range, of infinite
 * length if the size is unknown, and undefined if the range is unsatisfiable.
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

/** How a blob is opened: a range of it, and whether the source may return a location instead. */
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

/** A page of an ordered list. `next` is the `last` of the following request, if there is more. */
export interface Page<T> {
  items: T[]
  next?: string
}

/** The requested page of an ordered list: at most `n` items after `last`. */
export interface PageRequest {
  n?: number
  last?: string
}

/**
 * Anything that content can be pulled from. For unknown content each method throws an error that `isNotFound`
 * recognises: a backend an OciError (NAME_UNKNOWN, MANIFEST_UNKNOWN, BLOB_UNKNOWN), an upstream its own.
 */
export interface Source {
  statBlob(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>>
  openBlob(name: Name, digest: Digest, want: BlobRequest & { redirect?: never }): Promise<Served<OpenBlob>>
  openBlob(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>>
  statManifest(name: Name, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>>
  getManifest(name: Name, reference: Reference, want: { signal: AbortSignal }): Promise<Served<Manifest>>
  /** Tags in byte order (distribution-spec, "Listing Tags"). */
  listTags(name: Name, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>>
  /** Empty for an unknown name or digest (distribution-spec, "Listing Referrers"). */
  listReferrers(
    name: Name,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>>
  /** Names of repositories in byte order. */
  listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>>
}
