import type { Storage } from '../../../storage/storage.ts'
import { type Digest, encodedOf } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Content } from '../content.ts'
import { type CacheShares, platform } from '../fill/shares.ts'
import * as keys from '../keys.ts'
import type { Yield } from './yield.ts'

/** Cached content of one repository: its upstream, its last access in ms since the epoch, and its bytes. */
interface CachedObject {
  upstream: string
  id: number
  last: number
  size: number
}

/** Before which last access content of a name is evicted, in ms since the epoch; undefined: none of it. */
export type EvictBefore = (name: Name) => number | undefined

/** What is cached, by upstream, and what of it one upstream may evict. */
export class CacheInventory {
  readonly #objects: readonly CachedObject[]
  readonly #stored = new Map<string, number>()
  readonly #shares: CacheShares
  /** How many repositories have the bytes. */
  readonly #links = new Map<number, number>()

  private constructor(objects: readonly CachedObject[], shares: CacheShares) {
    this.#objects = objects
    this.#shares = shares
    const seen = new Map<string, Set<number>>()
    for (const { upstream, id, size } of objects) {
      this.#links.set(id, (this.#links.get(id) ?? 0) + 1)
      const known = seen.get(upstream) ?? new Set()
      seen.set(upstream, known)
      if (known.has(id)) continue
      known.add(id)
      this.add(upstream, size)
    }
  }

  /** Counts what an upstream has in the cache since the inventory was read; `select` does not know it. */
  add(upstream: string, bytes: number): void {
    this.#stored.set(upstream, this.stored(upstream) + bytes)
  }

  /** Reads the provenance records, and the sizes of what they are about. */
  static async read(content: Content, storage: Storage, shares: CacheShares, yielder: Yield): Promise<CacheInventory> {
    const objects: CachedObject[] = []
    for await (const name of content.provenance.names()) {
      const upstream = shares.upstreamOf(name)
      for await (const digest of content.provenance.list(name)) {
        const [last, stat] = await Promise.all([content.lastAccess.of(name, digest), storage.stat(keys.blob(digest))])
        if (last !== undefined && stat) objects.push({ upstream, id: idOf(digest), last, size: stat.size })
        await yielder.step()
      }
    }
    return new CacheInventory(
      objects.sort((a, b) => a.last - b.last),
      shares
    )
  }

  /** Bytes that an upstream has in the cache. */
  stored(upstream: string): number {
    return this.#stored.get(upstream) ?? 0
  }

  /**
   * The cache share of an upstream, when so many bytes are free: an equal part of what is not the platform's. That of
   * the platform is all there is; an upstream that is cached no longer has none.
   */
  share(upstream: string, freeBytes: number): number {
    if (upstream === platform) return Number.POSITIVE_INFINITY
    const namespaces = new Set(this.#shares.upstreams())
    namespaces.delete(platform)
    if (!namespaces.has(upstream)) return 0
    let bytes = freeBytes
    for (const [each, stored] of this.#stored) if (each !== platform) bytes += stored
    return bytes / namespaces.size
  }

  /**
   * What to evict so that `bytes` become free for an upstream, in the order of last access: of its own content all, of
   * a namespace's what is beyond its share, for the platform all; of the platform's nothing for a namespace. `all` if
   * that is not enough. More may be needed, since an image that was requested keeps its older blobs.
   */
  select(upstream: string, bytes: number, freeBytes: number): { before: EvictBefore; all: boolean } {
    const excess = new Map<string, number>()
    for (const [each, stored] of this.#stored) {
      const evictable = this.#evictable(upstream, each, stored, freeBytes)
      if (evictable > 0) excess.set(each, evictable)
    }
    const ends = new Map<string, number>()
    const links = new Map(this.#links)
    let [sum, last] = [0, Number.NEGATIVE_INFINITY]
    for (const object of this.#objects) {
      // With all others of the same time.
      if (sum >= bytes && object.last !== last) return { before: this.#before(excess, ends, last + 1), all: false }
      const evictable = excess.get(object.upstream)
      if (evictable === undefined || ends.has(object.upstream)) continue
      const left = evictable - object.size
      // Content of the same time would go with it.
      if (left < 0) ends.set(object.upstream, object.last)
      else {
        excess.set(object.upstream, left)
        last = object.last
        const others = (links.get(object.id) ?? 1) - 1
        links.set(object.id, others)
        // Bytes that another repository has stay.
        if (others === 0) sum += object.size
      }
    }
    return { before: this.#before(excess, ends, Number.POSITIVE_INFINITY), all: true }
  }

  #evictable(upstream: string, of: string, stored: number, freeBytes: number): number {
    if (of === upstream || upstream === platform) return Number.POSITIVE_INFINITY
    return of === platform ? 0 : Math.max(0, stored - this.share(of, freeBytes))
  }

  #before(excess: ReadonlyMap<string, number>, ends: ReadonlyMap<string, number>, before: number): EvictBefore {
    return name => {
      const upstream = this.#shares.upstreamOf(name)
      return excess.has(upstream) ? Math.min(before, ends.get(upstream) ?? before) : undefined
    }
  }
}

// 48 bits of the digest: two that share them make the sum a little less.
function idOf(digest: Digest): number {
  return Number.parseInt(encodedOf(digest).slice(0, 12), 16)
}
