import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { mediaTypeOf } from '../oci/manifest.ts'
import { isName, type Name, parseName, type Reference, referenceText } from '../oci/name.ts'
import { resolveRange } from '../oci/range.ts'
import type { BlobRequest, Body, Manifest, OpenBlob, Page, PageRequest, Served, Source } from '../oci/source.ts'
import type { Located } from './archive-index.ts'
import type { Bundle, BundleRepository } from './bundle.ts'

/**
 * A bundle as a source, read-only. A manifest is verified as it is read; of a blob the digest is the reader's to check.
 */
export class BundleSource implements Source {
  readonly #bundle: Bundle
  readonly #repositories: ReadonlyMap<string, BundleRepository>
  readonly #names: readonly Name[]
  readonly #referrersOf: (subject: Digest) => readonly Descriptor[]

  /** `nameOf`: the name of the repository of a path; `referrersOf`: the manifests of the bundle that have a subject. */
  constructor(bundle: Bundle, nameOf: (path: string) => Name, referrersOf: (subject: Digest) => readonly Descriptor[] = () => []) {
    this.#bundle = bundle
    this.#referrersOf = referrersOf
    const named = [...bundle.repositories.values()].map(each => [nameOf(each.path), each] as const)
    this.#repositories = new Map(named)
    this.#names = named.map(([name]) => name).sort()
  }

  async statBlob(name: Name, digest: Digest): Promise<Served<Descriptor>> {
    this.#repository(name)
    const found = this.#bundle.statBlob(digest)
    if (!found) throw new OciError('BLOB_UNKNOWN', { detail: { name, digest } })
    return hit(found)
  }

  async openBlob(name: Name, digest: Digest, { range }: BlobRequest): Promise<Served<OpenBlob>> {
    this.#repository(name)
    const located = this.#bundle.locate(digest)
    if (!located) throw new OciError('BLOB_UNKNOWN', { detail: { name, digest } })
    const { size } = located
    return hit({ size, part: range ? resolveRange(range, size) : { offset: 0, length: size }, body: new LocatedBody(located) })
  }

  async statManifest(name: Name, reference: Reference): Promise<Served<Descriptor>> {
    return hit((await this.#manifest(name, reference)).descriptor)
  }

  async getManifest(name: Name, reference: Reference): Promise<Served<Manifest>> {
    return hit(await this.#manifest(name, reference))
  }

  async listTags(name: Name, page: PageRequest): Promise<Served<Page<string>>> {
    const tags = this.#repository(name).images.flatMap(({ tag }) => (tag === undefined ? [] : [tag]))
    return hit(pageOf([...new Set<string>(tags)].sort(), page))
  }

  async listReferrers(_name: Name, subject: Digest, { artifactType }: { artifactType?: string }): Promise<Served<Page<Descriptor>>> {
    return hit({ items: this.#referrersOf(subject).filter(each => artifactType === undefined || each.artifactType === artifactType) })
  }

  async listNames(page: PageRequest): Promise<Served<Page<string>>> {
    return hit(pageOf(this.#names, page))
  }

  #repository(name: Name): BundleRepository {
    const repository = this.#repositories.get(name)
    if (repository) return repository
    throw new OciError('NAME_UNKNOWN', { detail: { name } })
  }

  async #manifest(name: Name, reference: Reference): Promise<Manifest> {
    const { images } = this.#repository(name)
    const digest = reference.digest ?? images.find(each => each.tag === reference.tag)?.descriptor.digest
    if (digest === undefined) throw new OciError('MANIFEST_UNKNOWN', { detail: { name, reference: referenceText(reference) } })
    const bytes = await this.#bundle.readManifest(digest)
    return { descriptor: { mediaType: mediaTypeOf(bytes), digest, size: bytes.length }, bytes }
  }
}

/** The name of the repository of `path` below a prefix; NAME_INVALID if it is too long. */
export function nameBelow(prefix: Name, path: string): Name {
  return path === '' ? prefix : parseName(`${prefix}/${path}`)
}

/** The path below a prefix of a repository's name; undefined for a name that is not below it. */
export function pathBelow(prefix: string, name: string): string | undefined {
  if (name === prefix) return ''
  const path = name.startsWith(`${prefix}/`) ? name.slice(prefix.length + 1) : undefined
  return path !== undefined && isName(path) ? path : undefined
}

class LocatedBody implements Body {
  readonly identity: object
  readonly #located: Located

  constructor(located: Located) {
    this.#located = located
    this.identity = located
  }

  async readInto(into: Buffer, position: number): Promise<number> {
    const { archive, offset, size } = this.#located
    const length = Math.min(into.length, size - position)
    return length <= 0 ? 0 : archive.bytes.read(into.subarray(0, length), offset + position)
  }

  // The archive stays open: it belongs to the bundle.
  async close(): Promise<void> {}
}

function pageOf(all: readonly string[], { n, last }: PageRequest): Page<string> {
  const rest = last === undefined ? all : all.filter(each => each > last)
  const items = n === undefined ? [...rest] : rest.slice(0, n)
  const next = items.at(-1)
  return items.length < rest.length && next !== undefined ? { items, next } : { items }
}

function hit<T>(value: T): Served<T> {
  return { value, outcome: 'hit' }
}
