import type { Key, Storage } from '../../storage/storage.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import * as keys from './keys.ts'
import { listDigests } from './walk.ts'

/** A digest with a prefix for its bytes. Size and time are present if they come with the listing. */
export interface ListedBlob {
  digest: Digest
  size?: number
  modified?: number
}

/** A link, by the digest that its key spells. */
export type ListedLink = Pick<ListedBlob, 'digest' | 'modified'>

/** How blobs and links are listed. */
export interface Listing {
  /** All digests with a prefix for their bytes, in order, those after `after` only. */
  blobs(after?: string): AsyncGenerator<ListedBlob, void>
  /** The digests that have a link below `prefix`, in order. */
  links(prefix: Key): AsyncGenerator<ListedLink, void>
}

/** Lists names of directories only: a size or a time would cost a system call for each file. */
export function createDirectoryListing(storage: Storage): Listing {
  return { blobs: (after = '') => walkBlobs(storage, after), links: prefix => walkLinks(storage, prefix) }
}

/** Lists objects, which come with their size and time, a thousand to a request. */
export function createObjectListing(storage: Storage): Listing {
  return { blobs: (after = '') => listBlobs(storage, after), links: prefix => listLinks(storage, prefix) }
}

async function* listBlobs(storage: Storage, after: string): AsyncGenerator<ListedBlob, void> {
  for await (const { key, size, modified } of storage.list(keys.blobs, isDigest(after) ? keys.blob(after) : undefined)) {
    const digest = keys.digestOfBlob(key)
    if (digest && digest > after) yield { digest, size, modified }
  }
}

// A directory without bytes is debris.
async function* walkBlobs(storage: Storage, after: string): AsyncGenerator<ListedBlob, void> {
  for await (const algorithm of prefixes(storage, keys.blobs)) {
    for await (const bucket of prefixes(storage, algorithm.key)) {
      // Prefixes before that of `after` are not listed.
      if (`${algorithm.name}:${bucket.name}` < after.slice(0, algorithm.name.length + 1 + bucket.name.length)) continue
      for await (const { name } of prefixes(storage, bucket.key)) {
        const digest = keys.digestOfPath(algorithm.name, name)
        if (digest && digest > after) yield { digest }
      }
    }
  }
}

async function* prefixes(storage: Storage, prefix: Key) {
  for await (const entry of storage.walk(prefix)) if (entry.kind === 'prefix') yield entry
}

async function* walkLinks(storage: Storage, prefix: Key): AsyncGenerator<ListedLink, void> {
  for await (const digest of listDigests(storage, prefix)) yield { digest }
}

async function* listLinks(storage: Storage, prefix: Key): AsyncGenerator<ListedLink, void> {
  for await (const { key, modified } of storage.list(prefix)) {
    const digest = keys.digestOfLink(key)
    if (digest) yield { digest, modified }
  }
}
