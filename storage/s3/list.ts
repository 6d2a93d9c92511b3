import { ListObjectsV2Command, type ListObjectsV2CommandOutput } from '@aws-sdk/client-s3'
import type { Key, ObjectStat, WalkEntry } from '../storage.ts'
import { modifiedMs } from './bodies.ts'
import type { Bucket } from './bucket.ts'

// Names that wait for a prefix, before the service is asked whether the prefix exists.
const maxWaiting = 10_000

/** Objects below `prefix` at any depth, in the order of their keys, after `after`; without a prefix all objects. */
export async function* listBelow(bucket: Bucket, prefix?: Key, after = ''): AsyncGenerator<ObjectStat> {
  const Prefix = prefix === undefined ? bucket.prefix : `${bucket.key(prefix)}/`
  const from = { Prefix, ...(after === '' ? {} : { StartAfter: bucket.prefix + after }) }
  for await (const { Contents = [] } of pages(bucket, from))
    for (const { Key = '', Size = 0, LastModified } of Contents)
      yield { key: Key.slice(bucket.prefix.length), size: Size, modified: modifiedMs(LastModified) }
}

/**
 * Names directly below `prefix` in byte order. The service orders whole keys, so that there `v1-a` comes before the
 * prefix `v1/`, whose name is `v1`.
 */
export async function* walkBelow(bucket: Bucket, prefix: Key, after: string): AsyncGenerator<WalkEntry> {
  const order = new NameOrder(name => hasObjects(bucket, `${prefix}/${name}`))
  for await (const { at, entry } of listed(bucket, prefix, after)) {
    if (entry.name > after) order.add(entry)
    yield* order.takeReady(at)
    if (order.size > maxWaiting) yield* order.takeByLookup()
  }
  yield* order.takeAll()
}

// In the order of the service; `at` is the key below `prefix`, with the slash of a prefix.
async function* listed(bucket: Bucket, prefix: Key, after: string): AsyncGenerator<{ at: string; entry: WalkEntry }> {
  const Prefix = `${bucket.key(prefix)}/`
  const from = { Prefix, Delimiter: '/', ...(after === '' ? {} : { StartAfter: Prefix + after }) }
  for await (const { Contents = [], CommonPrefixes = [] } of pages(bucket, from)) {
    const found: { at: string; kind: WalkEntry['kind'] }[] = []
    for (const { Key } of Contents) found.push({ at: Key?.slice(Prefix.length) ?? '', kind: 'object' })
    for (const { Prefix: below } of CommonPrefixes) found.push({ at: below?.slice(Prefix.length) ?? '', kind: 'prefix' })
    found.sort((a, b) => (a.at < b.at ? -1 : 1))
    for (const { at, kind } of found) {
      const name = kind === 'prefix' ? at.slice(0, -1) : at
      // Other programs may put keys that the registry never uses.
      if (name !== '' && name !== '.' && name !== '..' && !name.includes('/')) yield { at, entry: { key: `${prefix}/${name}`, name, kind } }
    }
  }
}

async function* pages(
  bucket: Bucket,
  from: { Prefix: string; Delimiter?: string; StartAfter?: string; MaxKeys?: number }
): AsyncGenerator<ListObjectsV2CommandOutput> {
  let token: string | undefined
  do {
    const input = { Bucket: bucket.name, ...from, ...(token === undefined ? {} : { ContinuationToken: token }) }
    const page = await bucket.request('ListObjectsV2', from.Prefix, 'small', client => client.send(new ListObjectsV2Command(input)))
    yield page
    token = page.IsTruncated ? page.NextContinuationToken : undefined
  } while (token !== undefined)
}

/** Whether there is an object below `prefix`. */
export async function hasObjects(bucket: Bucket, prefix: Key): Promise<boolean> {
  const input = { Bucket: bucket.name, Prefix: `${bucket.key(prefix)}/`, MaxKeys: 1 }
  const { Contents = [] } = await bucket.request('ListObjectsV2', prefix, 'small', client => client.send(new ListObjectsV2Command(input)))
  return Contents.length > 0
}

/**
 * Sorts entries from the order of keys into that of names. `v1.0-x` has to wait for `v1/` and `v1.0/`, since `.` and
 * `-` come before the slash: an entry is ready when no prefix can follow whose name its own name starts with.
 */
class NameOrder {
  readonly #exists: (name: string) => Promise<boolean>
  /** Sorted by name; entries before `#first` were taken. */
  #waiting: WalkEntry[] = []
  #first = 0
  /** Prefixes that `takeByLookup` found and took: the listing gives them once more. */
  readonly #lookedUp = new Set<string>()

  constructor(exists: (name: string) => Promise<boolean>) {
    this.#exists = exists
  }

  get size(): number {
    return this.#waiting.length - this.#first
  }

  add(entry: WalkEntry): void {
    if (entry.kind === 'prefix' && this.#lookedUp.delete(entry.name)) return
    let at = this.#waiting.length
    while (at > this.#first && compare(this.#waiting[at - 1], entry) > 0) at--
    this.#waiting.splice(at, 0, entry)
  }

  /** Takes the entries that are ready when the listing has reached `position`. */
  *takeReady(position: string): Generator<WalkEntry> {
    for (let next = this.#waiting[this.#first]; next; next = this.#waiting[this.#first]) {
      const awaited = prefixesBefore(next.name)[0]
      if (awaited !== undefined && `${awaited}/` > position) return
      yield this.#take(next)
    }
  }

  /** Takes the first half: asks the service whether the prefixes exist that it waits for. */
  async *takeByLookup(): AsyncGenerator<WalkEntry> {
    const checked = new Set<string>()
    for (const entry of this.#waiting.slice(this.#first, this.#first + maxWaiting / 2)) {
      for (const name of prefixesBefore(entry.name)) {
        if (checked.has(name) || this.#lookedUp.has(name)) continue
        checked.add(name)
        if (this.#waiting.some(each => each.kind === 'prefix' && each.name === name) || !(await this.#exists(name))) continue
        this.add({ key: entry.key.slice(0, entry.key.length - entry.name.length) + name, name, kind: 'prefix' })
        this.#lookedUp.add(name)
      }
      for (let next = this.#waiting[this.#first]; next && compare(next, entry) <= 0; next = this.#waiting[this.#first])
        yield this.#take(next)
    }
  }

  *takeAll(): Generator<WalkEntry> {
    while (this.size > 0) {
      const next = this.#waiting[this.#first]
      if (next) yield this.#take(next)
    }
  }

  #take(entry: WalkEntry): WalkEntry {
    this.#first++
    if (this.#first > 1_000 && this.#first * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#first)
      this.#first = 0
    }
    return entry
  }
}

// Names of the prefixes that sort before `name` but are listed after it, the one that is listed last first.
function prefixesBefore(name: string): string[] {
  const found: string[] = []
  for (let at = 1; at < name.length; at++) if (name.charCodeAt(at) < 0x2f) found.push(name.slice(0, at))
  return found
}

function compare(a: WalkEntry | undefined, b: WalkEntry): number {
  if (!a || a.name === b.name) return a?.kind === b.kind ? 0 : a?.kind === 'object' ? -1 : 1
  return a.name < b.name ? -1 : 1
}
