import { randomUUID } from 'node:crypto'
import type { Key } from '../storage.ts'
import type { Bucket } from './bucket.ts'
import { listBelow } from './list.ts'

/**
 * A part of an unfinished object: an object below `<key>/parts/`, named by its offset and a random id and never
 * overwritten. So any process can resume, and the same names mean the same bytes, whatever other processes do at the
 * same time.
 */
export interface StoredPart {
  key: Key
  offset: number
  size: number
}

/** The parts of an unfinished object that are stored. */
export interface StoredParts {
  /** Contiguous, from the first byte on. */
  parts: StoredPart[]
  /** Parts that do not belong to it: of two that overlap the shorter one, and those behind a gap. */
  stale: Key[]
  /** When the newest part was written, in ms since the epoch. */
  modified: number
}

const offsetDigits = 16

/** The key of a new part. */
export function newPartKey(key: Key, offset: number): Key {
  return `${key}/parts/${String(offset).padStart(offsetDigits, '0')}-${randomUUID()}`
}

/** Lists the parts of an unfinished object. */
export async function findParts(bucket: Bucket, key: Key): Promise<StoredParts> {
  const found: StoredPart[] = []
  let modified = 0
  for await (const each of listBelow(bucket, `${key}/parts`)) {
    const [, offset] = /\/parts\/([0-9]{16})-[^/]+$/.exec(each.key) ?? []
    if (offset === undefined) continue
    found.push({ key: each.key, offset: Number(offset), size: each.size })
    modified = Math.max(modified, each.modified)
  }
  return { ...contiguous(found), modified }
}

// Of two parts at one offset the longer one: the other is an earlier state of it, or of a process that wrote
// concurrently.
function contiguous(found: readonly StoredPart[]): Pick<StoredParts, 'parts' | 'stale'> {
  const longest = new Map<number, StoredPart>()
  for (const part of found) if (part.size > (longest.get(part.offset)?.size ?? 0)) longest.set(part.offset, part)
  const parts: StoredPart[] = []
  for (let next = longest.get(0); next; next = longest.get(next.offset + next.size)) parts.push(next)
  const chosen = new Set(parts)
  return { parts, stale: found.filter(each => !chosen.has(each)).map(each => each.key) }
}
