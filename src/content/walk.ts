import type { Key, Storage } from '../../storage/storage.ts'

/** All objects, and for each empty prefix a key in it at which there never is one: who removes that removes the prefix. */
export async function* leavesBelow(storage: Storage, prefix: Key): AsyncIterable<{ key: Key; object: boolean }> {
  let empty = true
  for await (const entry of storage.walk(prefix)) {
    empty = false
    if (entry.kind === 'object') yield { key: entry.key, object: true }
    else yield* leavesBelow(storage, entry.key)
  }
  if (empty) yield { key: `${prefix}/.empty`, object: false }
}

/** All objects below `prefix`, at any depth. */
export async function* objectsBelow(storage: Storage, prefix: Key): AsyncIterable<Key> {
  for await (const entry of storage.walk(prefix)) {
    if (entry.kind === 'object') yield entry.key
    else yield* objectsBelow(storage, entry.key)
  }
}
