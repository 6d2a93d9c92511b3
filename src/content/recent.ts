import { LRUCache } from 'lru-cache'

/** The `most` entries that were used last. By `maxSize`, since `max` would take the room for all of them at once: 15 ms and 5 MiB of a start. */
export function createRecent<K extends string, V extends {}>(most: number): LRUCache<K, V> {
  return new LRUCache({ maxSize: most, sizeCalculation: () => 1 })
}
