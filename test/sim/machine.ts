import { type Digest, digestOf } from '../../src/oci/digest.ts'
import type { Name } from '../../src/oci/name.ts'
import type { EntryKey, EntryKind } from '../../src/sync/entry.ts'
import { keyOf } from '../../src/sync/entry.ts'
import type { Needs, ShownKey, StoredRow } from '../../src/sync/ports.ts'

/** A repository on a disk. */
interface StoredRepository {
  blobs: Map<Digest, number>
  revisions: Map<Digest, number>
  tags: Map<string, { digest: Digest; at: number }>
}

/** What lies on a disk, durably: the tree and the table. */
export class Disk {
  /** The bytes of manifests and blobs, by digest. */
  readonly bytes = new Map<Digest, string>()
  readonly repositories = new Map<Name, StoredRepository>()
  readonly rows = new Map<EntryKey, StoredRow>()
  readonly facts = new Map<string, string>()
  full = false

  repository(name: Name): StoredRepository {
    const known = this.repositories.get(name) ?? { blobs: new Map(), revisions: new Map(), tags: new Map() }
    this.repositories.set(name, known)
    return known
  }

  /** A copy of it as it is now. */
  snapshot(): Disk {
    const copy = new Disk()
    for (const [digest, bytes] of this.bytes) copy.bytes.set(digest, bytes)
    for (const [name, { blobs, revisions, tags }] of this.repositories)
      copy.repositories.set(name, { blobs: new Map(blobs), revisions: new Map(revisions), tags: new Map(tags) })
    for (const [key, row] of this.rows) copy.rows.set(key, row)
    for (const [name, value] of this.facts) copy.facts.set(name, value)
    return copy
  }

  shown(kind: EntryKind, name: Name, key: string): Digest | undefined {
    const repository = this.repositories.get(name)
    if (kind === 'tag') return repository?.tags.get(key)?.digest
    return (kind === 'revision' ? repository?.revisions : repository?.blobs)?.has(key as Digest) ? (key as Digest) : undefined
  }

  remove(kind: EntryKind, name: Name, key: string): void {
    const repository = this.repository(name)
    if (kind === 'tag') repository.tags.delete(key)
    else if (kind === 'link') repository.blobs.delete(key as Digest)
    else {
      repository.revisions.delete(key as Digest)
      // As Commit does: no tag is left without its manifest.
      for (const [tag, { digest }] of repository.tags) if (digest === key) repository.tags.delete(tag)
    }
  }

  *all(): Iterable<ShownKey> {
    for (const [name, { blobs, revisions, tags }] of this.repositories) {
      for (const [digest, modified] of blobs) yield { kind: 'link', name, key: digest, value: digest, modified }
      for (const [digest, modified] of revisions) yield { kind: 'revision', name, key: digest, value: digest, modified }
      for (const [tag, { digest, at }] of tags) yield { kind: 'tag', name, key: tag, value: digest, modified: at }
    }
  }

  /** What is missing below a manifest that is shown; those that `isRemoved` are not missed. */
  missingBelow(name: Name, digest: Digest, isRemoved: (digest: Digest) => boolean): Digest[] {
    const bytes = this.shown('revision', name, digest) && this.bytes.get(digest)
    if (!bytes) return [digest]
    const { blobs, manifests } = needsOf(bytes)
    return [
      ...blobs.filter(blob => !this.shown('link', name, blob) || !this.bytes.has(blob)),
      ...manifests.filter(child => !isRemoved(child)).flatMap(child => this.missingBelow(name, child, isRemoved))
    ]
  }

  /** The tags and manifests, as text: equal for trees that clients cannot tell apart. */
  describe(): string[] {
    return [...this.all()]
      .filter(each => each.kind !== 'link')
      .map(each => `${keyOf(each)} = ${each.value}`)
      .sort()
  }
}

/** What a manifest of the simulation needs. */
export function needsOf(bytes: string): Needs {
  return JSON.parse(bytes) as Needs
}

/** A manifest of the simulation, with its digest. */
export function manifestOf(needs: Needs & { unique: number }): { bytes: string; digest: Digest } {
  const bytes = JSON.stringify(needs)
  return { bytes, digest: digestOf(Buffer.from(bytes)) }
}
