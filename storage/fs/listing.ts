import { readdir } from 'node:fs/promises'
import type { Key, WalkEntry } from '../storage.ts'
import { ignoreAbsent } from './absent.ts'
import type { DiskIo } from './disk-io.ts'

/** The objects and prefixes directly below `prefix`, which lies at `path`, in no order. Other files are passed over. */
export async function readEntries(disk: DiskIo, prefix: Key, path: string): Promise<WalkEntry[]> {
  const found = (await disk.read(() => readdir(path, { withFileTypes: true })).catch(ignoreAbsent)) ?? []
  return found
    .filter(entry => entry.isFile() || entry.isDirectory())
    .map(entry => ({ key: `${prefix}/${entry.name}`, name: entry.name, kind: entry.isFile() ? 'object' : 'prefix' }))
}

/** Those after the name `after`, in byte order of their names. */
export function byName(entries: readonly WalkEntry[], after: string): WalkEntry[] {
  return entries.filter(({ name }) => name > after).sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * Those at or below which there may be keys after `after`, in the order of the whole keys: what is below the prefix `a`
 * comes after the object `a-b`.
 */
export function byWholeKey(entries: readonly WalkEntry[], after: Key): WalkEntry[] {
  const whole = ({ key, kind }: WalkEntry) => (kind === 'object' ? key : `${key}/`)
  return entries
    .filter(entry => whole(entry) > after || (entry.kind === 'prefix' && after.startsWith(whole(entry))))
    .sort((a, b) => (whole(a) < whole(b) ? -1 : 1))
}
