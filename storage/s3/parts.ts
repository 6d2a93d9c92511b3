import { randomUUID } from 'node:crypto'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { listBelow } from './list.ts'

/**
 * An unfinished object is a set of objects below `<key>/parts/`, each named by its offset and a random id and never overwritten: any process can go on where the last one
 * stopped, and who knows the names knows the bytes, whatever others do at the same time.
 */
export interface StoredPart {
  key: Key
  offset: number
  size: number
}

/** What there is of an unfinished object. */
export interface StoredParts {
  /** Without a gap, from the first byte on. */
  parts: StoredPart[]
  /** What cannot belong to it: the losers where two processes wrote at once, and what lies behind a gap. */
  stale: Key[]
  /** When the last of them was written, in ms since the epoch. */
  modified: number
}

const width = 16

/** The key of a new part. */
export function newPartKey(key: Key, offset: number): Key {
  return `${key}/parts/${String(offset).padStart(width, '0')}-${randomUUID()}`
}

/** What is stored of an unfinished object. */
export async function findParts(bucket: Bucket, key: Key): Promise<StoredParts> {
  const found: StoredPart[] = []
  let modified = 0
  for await (const each of listBelow(bucket, `${key}/parts`)) {
    const [, offset] = /\/parts\/([0-9]{16})-[^/]+$/.exec(each.key) ?? []
    if (offset === undefined) continue
    found.push({ key: each.key, offset: Number(offset), size: each.size })
    modified = Math.max(modified, each.modified)
  }
  return { ...inOrder(found), modified }
}

// Of two parts at the same place the longer one: the other is its beginning, from before more came, or of somebody who lost.
function inOrder(found: readonly StoredPart[]): Pick<StoredParts, 'parts' | 'stale'> {
  const longest = new Map<number, StoredPart>()
  for (const part of found) if (part.size > (longest.get(part.offset)?.size ?? 0)) longest.set(part.offset, part)
  const parts: StoredPart[] = []
  for (let next = longest.get(0); next; next = longest.get(next.offset + next.size)) parts.push(next)
  const chosen = new Set(parts)
  return { parts, stale: found.filter(each => !chosen.has(each)).map(each => each.key) }
}
