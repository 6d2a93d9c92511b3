import type { Storage } from '../../storage/storage.ts'
import type { Content } from '../content/content.ts'
import * as keys from '../content/keys.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { listBlobs } from './blobs.ts'
import { Column, DigestTable } from './digest-table.ts'
import { everySoOften, type Progressed } from './events.ts'
import { linksOf } from './links.ts'

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

const progressInterval = 500

/** Adds up what each repository has, in order of their names, and then all of it. */
export async function* du(
  { content, storage }: { content: Content; storage: Storage },
  signal: AbortSignal,
  now: () => number = Date.now
): AsyncGenerator<RepositoryUsage | Progressed | UsageDone, void> {
  const due = everySoOften(progressInterval, now)
  const sum = new Usage(storage)
  for await (const name of content.names.all()) {
    sum.begin(name)
    for await (const { digest, target, kind } of linksOf(storage, name)) {
      signal.throwIfAborted()
      await sum.count(target ?? digest, kind)
      if (due()) yield { type: 'progress', done: sum.links, unit: 'items' }
    }
    for await (const { kind } of storage.walk(keys.tags(name))) if (kind === 'prefix') sum.countTag()
  }
  yield* sum.repositories()
  let unlinked = 0
  for await (const digest of listBlobs(storage)) {
    signal.throwIfAborted()
    if (sum.knows(digest)) continue
    unlinked += (await storage.stat(keys.blob(digest)))?.size ?? 0
    if (due()) yield { type: 'progress', done: sum.links, unit: 'items' }
  }
  yield { type: 'done', ...sum.totals, unlinked, quarantined: content.quarantine.bytes }
}

type Counted = Omit<RepositoryUsage, 'type' | 'shared'>

// One pass over all links: a digest is its first repository's own until a second one has it.
class Usage {
  readonly #storage: Storage
  readonly #table = new DigestTable()
  readonly #sizes = new Column()
  /** The first repository of a digest, as its number plus 1; 0 once there is a second. */
  readonly #first = new Column()
  /** The last repository that counted a digest, as its number plus 1. */
  readonly #last = new Column()
  readonly #repositories: Counted[] = []
  links = 0
  #bytes = 0

  constructor(storage: Storage) {
    this.#storage = storage
  }

  begin(name: Name): void {
    this.#repositories.push({ name, bytes: 0, own: 0, blobs: 0, manifests: 0, tags: 0 })
  }

  async count(digest: Digest, kind: 'blob' | 'manifest'): Promise<void> {
    this.links++
    const repository = this.#current
    repository[`${kind}s`]++
    const me = this.#repositories.length
    const known = this.#table.size
    const id = this.#table.add(digest)
    if (id === known) {
      const size = (await this.#storage.stat(keys.blob(digest)))?.size ?? 0
      this.#sizes.set(id, size)
      this.#first.set(id, me)
      this.#bytes += size
      repository.own += size
    }
    if (this.#last.get(id) === me) return
    this.#last.set(id, me)
    const size = this.#sizes.get(id)
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

  knows(digest: Digest): boolean {
    return this.#table.find(digest) !== undefined
  }

  *repositories(): Generator<RepositoryUsage> {
    for (const each of this.#repositories) yield { type: 'repository', ...each, shared: each.bytes - each.own }
  }

  get totals() {
    return { repositories: this.#repositories.length, bytes: this.#bytes, blobs: this.#table.size }
  }

  get #current(): Counted {
    const current = this.#repositories.at(-1)
    if (!current) throw new Error('no repository was begun')
    return current
  }
}
