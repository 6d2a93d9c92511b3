import { LRUCache } from 'lru-cache'

/**
 * A cache of the `maxEntries` entries that were used last; with `ttlMs`, of those that were set within that time. It is
 * limited by `maxSize`, since `max` would allocate for all of them at once: 15 ms and 5 MiB of a start.
 */
export function createLruCache<K extends string, V extends {}>(maxEntries: number, ttlMs?: number): LRUCache<K, V> {
  // To the library 0 means for ever.
  const limit = ttlMs === undefined ? {} : { ttl: Math.max(1, ttlMs) }
  return new LRUCache({ maxSize: maxEntries, sizeCalculation: () => 1, ...limit })
}
