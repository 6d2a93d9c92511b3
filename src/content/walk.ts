import type { Key, Storage, WalkEntry } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import { isName, type Name } from '../oci/name.ts'
import { digestOfPath } from './keys.ts'

/** All objects below `prefix`, at any depth. */
export async function* objectsBelow(storage: Storage, prefix: Key): AsyncIterable<Key> {
  for await (const { key, object } of leavesBelow(storage, prefix)) if (object) yield key
}

/**
 * All objects below `prefix`, and a key that no object has in each empty prefix: removing that key removes the prefix.
 */
export async function* leavesBelow(storage: Storage, prefix: Key): AsyncIterable<{ key: Key; object: boolean }> {
  let empty = true
  for await (const entry of storage.walk(prefix)) {
    empty = false
    if (entry.kind === 'object') yield { key: entry.key, object: true }
    else yield* leavesBelow(storage, entry.key)
  }
  if (empty) yield { key: `${prefix}/.empty`, object: false }
}

/** The digests that the prefixes `<algorithm>/<encoded>` below `prefix` spell, ordered. */
export async function* listDigests(storage: Storage, prefix: Key): AsyncIterable<Digest> {
  for await (const algorithm of storage.walk(prefix)) {
    for await (const encoded of storage.walk(algorithm.key)) {
      const digest = digestOfPath(algorithm.name, encoded.name)
      if (digest) yield digest
    }
  }
}

/**
 * The repositories below `root` that have an entry for which `isContent` holds, those after `after` only.
 * In byte order of the whole name: `a-b` comes before `a/b`.
 */
export async function* listNames(storage: Storage, root: Key, isContent: (entry: WalkEntry) => boolean, after = ''): AsyncIterable<Name> {
  yield* namesIn(await lookAtName(storage, root, isContent), '')

  async function* namesIn({ children }: NamePrefix, prefix: string): AsyncIterable<Name> {
    const visited = new Map<string, NamePrefix>()
    const visit = (name: string) => lookAtName(storage, `${root}/${name}`, isContent)
    // A child is visited at its own name, the names below it at `<name>/`: `-` and `.` sort before `/`.
    const stops = children.flatMap(child => [
      { at: child, child },
      { at: `${child}/`, child }
    ])
    stops.sort((a, b) => (a.at < b.at ? -1 : 1))
    for (const { at, child } of stops) {
      const name = `${prefix}${child}`
      if (at !== child) {
        if (after < `${name}0`) yield* namesIn(visited.get(child) ?? (await visit(name)), `${name}/`)
        visited.delete(child)
      } else if (name > after && isName(name)) {
        const found = await visit(name)
        visited.set(child, found)
        if (found.hasContent) yield name
      }
    }
  }
}

/** What lies directly below the prefix of a name. */
interface NamePrefix {
  hasContent: boolean
  /** Further components of names. */
  children: string[]
}

/** Whether a prefix has an entry for which `isContent` holds, and the components of names below it. */
export async function lookAtName(storage: Storage, prefix: Key, isContent: (entry: WalkEntry) => boolean): Promise<NamePrefix> {
  const found: NamePrefix = { hasContent: false, children: [] }
  for await (const entry of storage.walk(prefix)) {
    if (isContent(entry)) found.hasContent = true
    // A component of a name does not begin with `_`.
    else if (entry.kind === 'prefix' && !entry.name.startsWith('_')) found.children.push(entry.name)
  }
  return found
}
