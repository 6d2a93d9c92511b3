import type { Key, Storage } from '../../storage/storage.ts'

/** All objects below `prefix`, at any depth. */
export async function* objectsBelow(storage: Storage, prefix: Key): AsyncIterable<Key> {
  for await (const entry of storage.walk(prefix)) {
    if (entry.kind === 'object') yield entry.key
    else yield* objectsBelow(storage, entry.key)
  }
}
