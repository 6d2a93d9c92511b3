import { LRUCache } from 'lru-cache'

/** The `most` entries that were used last; with `ttl` those only that were set within so many ms. By `maxSize`, since `max` would take the room for all of them at once: 15 ms and 5 MiB of a start. */
export function createLruCache<K extends string, V extends {}>(most: number, ttl?: number): LRUCache<K, V> {
  // To the library 0 means for ever.
  const limit = ttl === undefined ? {} : { ttl: Math.max(1, ttl) }
  return new LRUCache({ maxSize: most, sizeCalculation: () => 1, ...limit })
}
