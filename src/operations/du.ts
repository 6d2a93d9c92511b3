import type { Storage } from '../../storage/storage.ts'
import type { Content } from '../content/content.ts'
import { Column, DigestTable } from '../content/digest-table.ts'
import * as keys from '../content/keys.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { atMostEvery, type OperationProgress } from './events.ts'
import { linksOf } from './tree.ts'

/** What a repository takes on disk. */
export interface RepositoryUsage {
  type: 'repository'
  name: Name
  /** Of everything that it has a link to, each digest counted once. */
  bytes: number
  /** Of what no other repository has a link to: what removing it would free. */
  own: number
  /** Of what other repositories have a link to as well. */
  shared: number
  blobs: number
  manifests: number
  tags: number
}

/** What all repositories take. */
export interface UsageDone {
  type: 'done'
  repositories: number
  /** Of everything that any repository has a link to, each digest counted once. */
  bytes: number
  blobs: number
  /** Of what no repository has a link to: the next garbage collection removes it after its grace period. */
  unlinked: number
  /** Of what is in quarantine. */
  quarantined: number
}

/** What `du` reports. */
export type DuEvent = RepositoryUsage | OperationProgress | UsageDone

const progressIntervalMs = 500

/** Yields the usage of each repository, in order of their names, and then that of all together. */
export async function* du(
  { content, storage }: { content: Content; storage: Storage },
  signal: AbortSignal,
  now: () => number = Date.now
): AsyncGenerator<DuEvent, void> {
  const progressIsDue = atMostEvery(progressIntervalMs, now)
  const usage = new UsageCounter()
  // Sizes come with the listing. What is pushed after it has none.
  for await (const { key, size } of storage.list(keys.blobs)) {
    signal.throwIfAborted()
    const digest = keys.digestOfBlob(key)
    if (digest) usage.addBlob(digest, size)
    if (progressIsDue()) yield { type: 'progress', done: usage.links, unit: 'items' }
  }
  for await (const name of content.names.all()) {
    usage.beginRepository(name)
    for await (const { digest, target, kind } of linksOf(storage, name)) {
      signal.throwIfAborted()
      usage.countLink(target ?? digest, kind)
      if (progressIsDue()) yield { type: 'progress', done: usage.links, unit: 'items' }
    }
    for await (const { kind } of storage.walk(keys.tags(name))) if (kind === 'prefix') usage.countTag()
  }
  yield* usage.repositories()
  yield { type: 'done', ...usage.totals, quarantined: content.quarantine.bytes }
}

type RepositoryCount = Omit<RepositoryUsage, 'type' | 'shared'>

// Counts in one pass over all links: a digest is its first repository's own until a second one has it.
class UsageCounter {
  readonly #table = new DigestTable()
  readonly #sizes = new Column()
  /** The first repository of a digest, as its number plus 1; 0 once there is a second. */
  readonly #first = new Column()
  /** The last repository that counted a digest, as its number plus 1. */
  readonly #last = new Column()
  readonly #repositories: RepositoryCount[] = []
  links = 0
  #linked = 0
  #bytes = 0
  #unlinked = 0

  /** Adds the size of a digest; called for all of them before the first link. */
  addBlob(digest: Digest, size: number): void {
    this.#sizes.set(this.#table.add(digest), size)
    this.#unlinked += size
  }

  beginRepository(name: Name): void {
    this.#repositories.push({ name, bytes: 0, own: 0, blobs: 0, manifests: 0, tags: 0 })
  }

  countLink(digest: Digest, kind: 'blob' | 'manifest'): void {
    this.links++
    const repository = this.#current
    repository[`${kind}s`]++
    const number = this.#repositories.length
    const id = this.#table.add(digest)
    const size = this.#sizes.get(id)
    if (this.#last.get(id) === 0) {
      this.#first.set(id, number)
      this.#linked++
      this.#bytes += size
      this.#unlinked -= size
      repository.own += size
    }
    if (this.#last.get(id) === number) return
    this.#last.set(id, number)
    repository.bytes += size
    const first = this.#first.get(id)
    if (first === number || first === 0) return
    const other = this.#repositories[first - 1]
    if (other) other.own -= size
    this.#first.set(id, 0)
  }

  countTag(): void {
    this.#current.tags++
  }

  *repositories(): Generator<RepositoryUsage> {
    for (const each of this.#repositories) yield { type: 'repository', ...each, shared: each.bytes - each.own }
  }

  get totals() {
    return { repositories: this.#repositories.length, bytes: this.#bytes, blobs: this.#linked, unlinked: this.#unlinked }
  }

  get #current(): RepositoryCount {
    const current = this.#repositories.at(-1)
    if (!current) throw new Error('no repository was begun')
    return current
  }
}
