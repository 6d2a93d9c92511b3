import type { Digest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'

interface ContentChange {
  /** When it took effect, in ms since the epoch by the storage's clock. */
  at: number
  name: Name
  digest: Digest
  /** The upstream that the content was cached from; absent if it was pushed. */
  upstream?: string
}

interface LinkChange extends ContentChange {
  kind: 'blob-linked' | 'blob-unlinked' | 'manifest-linked' | 'manifest-removed'
}

interface TagChange extends ContentChange {
  /** `digest` is what the tag names now, or named until it was removed. */
  kind: 'tag-set' | 'tag-removed'
  tag: Tag
  /** What a tag that was set named before; absent if it is new. */
  old?: Digest
}

/**
 * One change of meaning. A push of content that had been cached is one too, although the digest stays the same:
 * `blob-linked`, `manifest-linked` or `tag-set` without `upstream`. These are no changes: a push of content that is
 * there already, a cached tag that upstream confirms, damaged bytes that heal, a repaired index of referrers, and
 * whatever garbage collection removes.
 */
export type Change = LinkChange | TagChange

/** A change without what `Commit` adds. */
export type ChangeBody = Omit<LinkChange, 'at' | 'name'> | Omit<TagChange, 'at' | 'name'>

/**
 * Gets each change once it has taken effect and is durable, and is awaited before the client gets a response. It runs
 * inside the mutex of the repository (manifests, tags) or of the link (blobs): it must not change that repository, and
 * should be quick.
 *
 * Order: the manifests and tags of one repository, and the link of one blob, each in the order in which they took
 * effect. A manifest comes after its blobs and a tag after its manifest, because a client pushes them in that order.
 * Changes of different repositories and of different blobs are delivered side by side.
 *
 * Failure: if it rejects, the change stays in effect, the request fails with the error, and the rest of the request
 * (the tags of a manifest) is not done. The change is delivered again before the next one of the same repository or
 * link; a client's retry of the request is enough for that. So delivery is at least once and in order, but not across a
 * crash: a listener that keeps a journal compares it with the content when it starts. Processes that share a storage
 * deliver their own changes each, without an order between them.
 */
export type ChangeListener = (change: Change) => Promise<void> | void

/** Delivers a change after those of the same key that were rejected. Call inside the mutex of the key. */
export type DeliverChange = (key: string, change?: Change) => Promise<void>

/** Delivers to `listener` at least once, and in the order of the calls for a key. */
export function createDelivery(listener: ChangeListener): DeliverChange {
  const undelivered = new Map<string, Change[]>()
  return async (key, change) => {
    const queue = undelivered.get(key) ?? []
    if (change) queue.push(change)
    if (queue.length === 0) return
    undelivered.set(key, queue)
    for (let next = queue[0]; next; next = queue[0]) {
      await listener(next)
      queue.shift()
    }
    undelivered.delete(key)
  }
}
