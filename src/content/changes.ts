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
 * One change of meaning. That content which had been cached is pushed is one too: `blob-linked`, `manifest-linked` or `tag-set` without `upstream`, then with the
 * digest that was there before. No change: a push of what is there already, a cached tag that upstream confirms, bytes that heal, repaired indexes of referrers,
 * and what garbage collection removes.
 */
export type Change = LinkChange | TagChange

/** A change without what `Commit` adds. */
export type ChangeBody = Omit<LinkChange, 'at' | 'name'> | Omit<TagChange, 'at' | 'name'>

/**
 * Gets each change when it has taken effect and is durable, before the request that made it is answered, and is awaited. It is called inside the mutex of what
 * changed (the repository, for manifests and tags; the link, for blobs), so that it must not change the same repository itself and should be quick. Order: changes
 * of one repository's manifests and tags come in the order in which they took effect, as do those of one blob's link. A manifest comes after its blobs, and a tag
 * after its manifest, since a client pushes them in this order. Changes of different repositories, and of different blobs, come side by side.
 *
 * If it rejects, the change stays in effect and the request fails with the error, at this point: what follows in the same request (tags after their manifest) is
 * not done. The change is delivered again before the next one of the same repository or link, which the client's retry is enough for: at least once, in order.
 * After a crash between the effect and the delivery nothing is delivered again: a listener with a journal of its own compares it with the content at the start.
 * Processes that share a storage each deliver what they changed themselves, without an order between them.
 */
export type ChangeListener = (change: Change) => Promise<void> | void

/** Delivers a change, after those with the same key that `listener` rejected before. Called inside the mutex of that key. */
export type DeliverChange = (key: string, change?: Change) => Promise<void>

/** Delivers to `listener`, at least once and in the order of the calls for a key. */
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
