import type { Digest } from '../../src/oci/digest.ts'
import type { Name } from '../../src/oci/name.ts'
import { compareStamps, type Entry, type EntryKey, keyOf, type Stamp } from '../../src/sync/entry.ts'
import type { Read, Written } from './clients.ts'
import type { SimNode } from './node.ts'

/** What the judge knows of the cluster. */
export interface JudgeDeps {
  /** The nodes that are configured. */
  members: () => readonly SimNode[]
}

/** Watches what clients see and what is left at the end, and notes what must not be. */
export class Judge {
  readonly violations: string[] = []
  readonly #deps: JudgeDeps
  /** The latest tombstone of a key that any member has collected. */
  readonly #collected = new Map<EntryKey, { stamp: Stamp; at: number }>()
  /** What one run of a process has shown under a tag, oldest first. */
  readonly #seen = new Map<string, string[]>()

  #writes: readonly Written[] = []

  constructor(deps: JudgeDeps) {
    this.#deps = deps
  }

  /** What clients write; it grows. */
  watch(writes: readonly Written[]): void {
    this.#writes = writes
  }

  #violates(rule: string, about: string): void {
    this.violations.push(`${rule}: ${about}`)
  }

  /** A member has collected a tombstone: every member has removed what it removes. */
  collected(entry: Entry, at: number): void {
    const key = keyOf(entry)
    const known = this.#collected.get(key)
    if (!known || compareStamps(entry.stamp, known.stamp) > 0) this.#collected.set(key, { stamp: entry.stamp, at })
  }

  /** The content of an entry was lost with a disk: the tag names again what it named before. */
  lost({ name, key }: Entry): void {
    for (const about of this.#seen.keys()) if (about.endsWith(` ${name}:${key}`)) this.#seen.delete(about)
  }

  /** A client was answered. */
  read(read: Read): void {
    if (read.result === 'unknown' || read.run !== read.node.runs) return
    this.#monotonic(read)
    if (read.result === 'absent') this.#absent(read)
    else {
      this.#written(read, read.result)
      if (read.here) this.#whole(read, read.result)
    }
  }

  // A value that was replaced does not come back in one run of a process.
  #monotonic({ node, run, name, tag, result }: Read): void {
    const about = `${node.name} run ${run} ${name}:${tag}`
    const seen = this.#seen.get(about) ?? []
    this.#seen.set(about, seen)
    if (seen.at(-1) === result) return
    if (result !== 'absent' && seen.includes(result))
      this.#violates('monotonic reads', `${about} shows ${short(result)} again after ${seen.map(short)}`)
    seen.push(result)
  }

  // Only what was pushed is read, and nothing that all have removed.
  #written({ node, name, tag }: Read, digest: Digest): void {
    const write = this.#writes.find(each => each.name === name && each.tag === tag && each.digest === digest)
    if (!write) {
      this.#violates('register', `${node.name} shows ${short(digest)} for ${name}:${tag}, which was never pushed there`)
      return
    }
    const removed = this.#collected.get(keyOf({ kind: 'tag', name, key: tag }))
    const row = node.replica && node.disk.rows.get(keyOf({ kind: 'tag', name, key: tag }))
    const stamp = row?.entry.value === digest ? row.entry.stamp : write.entry?.stamp
    if (removed && stamp && write.startedAt < removed.at && compareStamps(stamp, removed.stamp) < 0)
      this.#violates('resurrection', `${node.name} shows ${short(digest)} for ${name}:${tag}, whose removal was collected`)
  }

  // What a replica shows itself can be pulled whole.
  #whole({ node, name, tag }: Read, digest: Digest): void {
    const missing = node.disk.missingBelow(name, digest, child => isRemoved(node, name, child))
    if (missing.length > 0) this.#violates('completeness', `${node.name} shows ${name}:${tag} without ${missing.map(short)}`)
  }

  // "Not found" is said only if it is true.
  #absent({ node, name, tag, startedAt }: Read): void {
    const key = keyOf({ kind: 'tag', name, key: tag })
    for (const { entry, digest, acknowledged, acknowledgedAt = Number.POSITIVE_INFINITY } of this.#writes) {
      if (!entry?.value || !digest || keyOf(entry) !== key || acknowledged !== 'majority' || acknowledgedAt >= startedAt) continue
      if (this.#removedAfter(entry)) continue
      this.#violates('true 404', `${node.name} denies ${name}:${tag}, which a majority had as ${short(digest)}`)
    }
  }

  #removedAfter({ kind, name, key, value, stamp }: Entry): boolean {
    const keys = [keyOf({ kind, name, key }), keyOf({ kind: 'revision', name, key: value ?? '' })]
    const later = (other: Stamp | undefined) => other !== undefined && compareStamps(other, stamp) >= 0
    if (keys.some(each => later(this.#collected.get(each)?.stamp))) return true
    return (
      this.#writes.some(each => !each.digest && each.name === name && each.tag === key && (!each.entry || later(each.entry.stamp))) ||
      this.#deps.members().some(each => keys.some(of => isTombstoneAfter(each, of, stamp)))
    )
  }

  /** All is healed and quiet: every member has the same, and nothing that was acknowledged is lost. `excused`: of these disks one was lost. */
  atRest(converged: boolean, isExcused: (write: Written) => boolean): void {
    const [first, ...others] = this.#deps.members()
    if (!first) return
    if (!converged) {
      for (const each of others) this.#compare(first, each)
      if (this.violations.length === 0) this.#violates('convergence', 'the replicas are not equal, or have not ended their work')
    }
    for (const write of this.#writes) if (write.entry && write.acknowledged && !isExcused(write)) this.#kept(write, write.entry)
    for (const [key, { stamp, at }] of this.#collected) {
      const row = first.disk.rows.get(key)
      const isNew = this.#writes.some(each => each.digest === row?.entry.value && each.startedAt >= at)
      if (row?.entry.value && row.entry.kind !== 'link' && !isNew && compareStamps(row.entry.stamp, stamp) < 0)
        this.#violates('resurrection', `${key} is back at the end`)
    }
  }

  #compare(first: SimNode, other: SimNode): void {
    const [a, b] = [first.disk.describe(), other.disk.describe()]
    const differing = [
      ...a.filter(each => !b.includes(each)).map(each => `${first.name}: ${each}`),
      ...b.filter(each => !a.includes(each)).map(each => `${other.name}: ${each}`)
    ]
    if (differing.length > 0) this.#violates('convergence', differing.slice(0, 6).join('; '))
  }

  // The value may have been superseded, but not by an earlier one.
  #kept(write: Written, entry: Entry): void {
    const key = keyOf(entry)
    // A tombstone that is old when it comes is not taken everywhere.
    const rows = this.#deps.members().flatMap(each => each.disk.rows.get(key) ?? [])
    const latest = [...rows.map(each => each.entry.stamp), this.#collected.get(key)?.stamp].filter(each => each !== undefined)
    if (latest.some(each => compareStamps(each, entry.stamp) >= 0)) return
    // A manifest that was removed takes the tag along.
    const revision = write.digest && this.#collected.get(keyOf({ kind: 'revision', name: write.name, key: write.digest }))
    if (revision && compareStamps(revision.stamp, entry.stamp) >= 0) return
    // A removal that is younger than what is left has nothing to remove, and was collected or never needed.
    if (entry.value === undefined && rows.length === 0) return
    this.#violates('durability', `${key} of ${write.node} was acknowledged (${write.acknowledged}) and is lost`)
  }
}

function isRemoved(node: SimNode, name: Name, digest: Digest): boolean {
  const row = node.disk.rows.get(keyOf({ kind: 'revision', name, key: digest }))
  return row !== undefined && row.entry.value === undefined
}

function isTombstoneAfter(node: SimNode, key: EntryKey, stamp: Stamp): boolean {
  const entry = node.disk.rows.get(key)?.entry
  return entry !== undefined && entry.value === undefined && compareStamps(entry.stamp, stamp) >= 0
}

const short = (text: string): string => (text.startsWith('sha256:') ? text.slice(7, 13) : text)
