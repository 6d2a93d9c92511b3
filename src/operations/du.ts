import type { Storage } from '../../storage/storage.ts'
import type { Content } from '../content/content.ts'
import { Column, DigestTable } from '../content/digest-table.ts'
import * as keys from '../content/keys.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { atMostEvery, type Progressed } from './events.ts'
import { linksOf } from './tree.ts'

/** What a repository takes on disk. */
export interface RepositoryUsage {
  type: 'repository'
  name: Name
  /** Of everything that it has a link to, each digest counted once. */
  bytes: number
  /** Of what no other repository has a link to: what removing it would free. */
  own: number
  /** Of what others need as well. */
  shared: number
  blobs: number
  manifests: number
  tags: number
}

/** What all of it takes. */
export interface UsageDone {
  type: 'done'
  repositories: number
  /** Of everything that any repository has a link to, each digest counted once. */
  bytes: number
  blobs: number
  /** Of what no repository has a link to: the next collection takes it, unless it is new. */
  unlinked: number
  /** Of what was set aside as damaged. */
  quarantined: number
}

/** What `du` reports. */
export type DuEvent = RepositoryUsage | Progressed | UsageDone

const progressIntervalMs = 500

/** Adds up what each repository has, in order of their names, and then all of it. */
export async function* du(
  { content, storage }: { content: Content; storage: Storage },
  signal: AbortSignal,
  now: () => number = Date.now
): AsyncGenerator<DuEvent, void> {
  const due = atMostEvery(progressIntervalMs, now)
  const sum = new Usage()
  // Sizes come with the listing; who is pushed meanwhile counts the next time.
  for await (const { key, size } of storage.list(keys.blobs)) {
    signal.throwIfAborted()
    const digest = keys.digestOfBlob(key)
    if (digest) sum.stored(digest, size)
    if (due()) yield { type: 'progress', done: sum.links, unit: 'items' }
  }
  for await (const name of content.names.all()) {
    sum.begin(name)
    for await (const { digest, target, kind } of linksOf(storage, name)) {
      signal.throwIfAborted()
      sum.count(target ?? digest, kind)
      if (due()) yield { type: 'progress', done: sum.links, unit: 'items' }
    }
    for await (const { kind } of storage.walk(keys.tags(name))) if (kind === 'prefix') sum.countTag()
  }
  yield* sum.repositories()
  yield { type: 'done', ...sum.totals, quarantined: content.quarantine.bytes }
}

type Counted = Omit<RepositoryUsage, 'type' | 'shared'>

// One pass over all links: a digest is its first repository's own until a second one has it.
class Usage {
  readonly #table = new DigestTable()
  readonly #sizes = new Column()
  /** The first repository of a digest, as its number plus 1; 0 once there is a second. */
  readonly #first = new Column()
  /** The last repository that counted a digest, as its number plus 1. */
  readonly #last = new Column()
  readonly #repositories: Counted[] = []
  links = 0
  #linked = 0
  #bytes = 0
  #unlinked = 0

  /** Bytes that lie under a digest, before anything is counted. */
  stored(digest: Digest, size: number): void {
    this.#sizes.set(this.#table.add(digest), size)
    this.#unlinked += size
  }

  begin(name: Name): void {
    this.#repositories.push({ name, bytes: 0, own: 0, blobs: 0, manifests: 0, tags: 0 })
  }

  count(digest: Digest, kind: 'blob' | 'manifest'): void {
    this.links++
    const repository = this.#current
    repository[`${kind}s`]++
    const me = this.#repositories.length
    const id = this.#table.add(digest)
    const size = this.#sizes.get(id)
    if (this.#last.get(id) === 0) {
      this.#first.set(id, me)
      this.#linked++
      this.#bytes += size
      this.#unlinked -= size
      repository.own += size
    }
    if (this.#last.get(id) === me) return
    this.#last.set(id, me)
    repository.bytes += size
    const first = this.#first.get(id)
    if (first === me || first === 0) return
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

  get #current(): Counted {
    const current = this.#repositories.at(-1)
    if (!current) throw new Error('no repository was begun')
    return current
  }
}
