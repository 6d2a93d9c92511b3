import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { OciError, reasonOf } from '../oci/errors.ts'
import { isName } from '../oci/name.ts'
import { type ArchiveIndex, indexArchive, type Located, type OpenArchive } from './archive-index.ts'
import { findArchives } from './archives.ts'
import type { BundleFault } from './faults.ts'
import { type ListedImage, maxIndexBytes, mergeImages, readLayoutIndex } from './layout-index.ts'

/**
 * A repository in a bundle. Its path is that of its layout in the archives: `` (the root), `install`,
 * `modules/x/release`.
 */
export interface BundleRepository {
  path: string
  images: ListedImage[]
}

/** How a bundle is opened: the directories and archives, of which only those of some names. */
export interface BundleOptions {
  paths: readonly string[]
  only?: readonly string[] | undefined
  signal: AbortSignal
}

// Each costs some 400 bytes; 10,000 images of Deckhouse have half as many.
const maxEntries = 200_000
// As upstreams may send.
const maxManifestBytes = 8 * 1024 * 1024

/**
 * Archives of `d8 mirror`, read where they lie: each header once, and bytes by their position. Layouts of one path that
 * lie in several archives are one repository.
 */
export class Bundle implements AsyncDisposable {
  readonly archives: readonly OpenArchive[]
  /** By path, in byte order. */
  readonly repositories: ReadonlyMap<string, BundleRepository>
  /** What is wrong: something is damaged, missing, or not to be used. */
  readonly faults: readonly BundleFault[]
  /** What is unusual, and used all the same. */
  readonly notices: readonly BundleFault[]
  /** The first place of each blob and manifest. */
  readonly #located: ReadonlyMap<Digest, Located>

  private constructor(parts: {
    archives: OpenArchive[]
    repositories: Map<string, BundleRepository>
    faults: BundleFault[]
    notices: BundleFault[]
    located: Map<Digest, Located>
  }) {
    this.archives = parts.archives
    this.repositories = parts.repositories
    this.faults = parts.faults
    this.notices = parts.notices
    this.#located = parts.located
  }

  /** Rejects if a path cannot be read; what is wrong with the archives themselves is in `faults`. */
  static async open({ paths, only, signal }: BundleOptions): Promise<Bundle> {
    const { archives: wanted, faults } = await findArchives(paths, only)
    const indexes: ArchiveIndex[] = []
    try {
      let entries = 0
      for (const each of wanted) {
        if (each.paths.length === 0) continue
        const index = await indexArchive(each, { maxEntries: maxEntries - entries, signal })
        indexes.push(index)
        entries += index.entries
        faults.push(...index.faults)
      }
      const located = new Map<Digest, Located>()
      for (const { blobs } of indexes) for (const { digest, located: place } of blobs) if (!located.has(digest)) located.set(digest, place)
      const notices: BundleFault[] = []
      const repositories = await readRepositories(indexes, faults, notices)
      return new Bundle({ archives: indexes.map(each => each.archive), repositories, faults, notices, located })
    } catch (error) {
      await closeAll(indexes.map(each => each.archive))
      throw error
    }
  }

  /** Where the bytes of a digest lie; undefined if the bundle does not have them. */
  locate(digest: Digest): Located | undefined {
    return this.#located.get(digest)
  }

  /**
   * The bytes of a manifest, verified. MANIFEST_UNKNOWN if the bundle does not have it, DIGEST_INVALID if it is
   * damaged.
   */
  async readManifest(digest: Digest): Promise<Buffer> {
    const located = this.#located.get(digest)
    if (!located) throw new OciError('MANIFEST_UNKNOWN', { detail: { reason: 'the bundle does not have it', digest } })
    if (located.size > maxManifestBytes)
      throw new OciError('MANIFEST_INVALID', { detail: { reason: `it has ${located.size} bytes, more than any manifest`, digest } })
    const bytes = await readLocated(located)
    const actual = digestOf(bytes, algorithmOf(digest))
    if (actual === digest) return bytes
    throw new OciError('DIGEST_INVALID', { detail: { reason: `${placeText(located)}: its bytes are those of ${actual}`, digest, actual } })
  }

  /** The descriptor of a blob; undefined if the bundle does not have it. */
  statBlob(digest: Digest): Descriptor | undefined {
    const located = this.#located.get(digest)
    return located && { mediaType: mediaTypes.blob, digest, size: located.size }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closeAll(this.archives)
  }
}

/** File, entry and offset of bytes, for messages. */
export function placeText({ archive, entry, offset }: Located): string {
  const place = archive.bytes.placeOf(offset)
  return `${place.file}: ${entry} at byte ${place.offset}`
}

async function readLocated({ archive, offset, size }: Located): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(size)
  return bytes.subarray(0, await archive.bytes.read(bytes, offset))
}

async function readRepositories(
  indexes: readonly ArchiveIndex[],
  faults: BundleFault[],
  notices: BundleFault[]
): Promise<Map<string, BundleRepository>> {
  const listed = new Map<string, ListedImage[]>()
  for (const { archive, layouts, blobs } of indexes) {
    for (const [path, located] of layouts) {
      const images = await imagesOf(path, located, { archive, faults, notices })
      if (images) listed.set(path, [...(listed.get(path) ?? []), ...images])
    }
    const lacking = new Set(blobs.map(each => each.layout).filter(layout => !layouts.has(layout)))
    for (const path of lacking)
      faults.push({
        archive: archive.name,
        reason: `${path === '' ? 'the root' : path} has blobs and no index.json: its images are unknown`
      })
  }
  const paths = [...listed.keys()].sort()
  return new Map(
    paths.map(path => {
      const images = mergeImages(listed.get(path) ?? [], (reason, digest) => notices.push({ entry: path, digest, reason }))
      return [path, { path, images }]
    })
  )
}

async function imagesOf(
  path: string,
  located: Located,
  { archive, faults, notices }: { archive: OpenArchive; faults: BundleFault[]; notices: BundleFault[] }
): Promise<ListedImage[] | undefined> {
  const about = { archive: archive.name, ...archive.bytes.placeOf(located.offset), entry: located.entry }
  const fault = (reason: string) => void faults.push({ ...about, reason })
  if (path !== '' && !isName(path)) return void fault(`${JSON.stringify(path.slice(0, 160))} is not the name of a repository`)
  if (located.size > maxIndexBytes) return void fault(`it has ${located.size} bytes, more than any index`)
  try {
    return readLayoutIndex(await readLocated(located), {
      onFault: (reason, digest) => faults.push({ ...about, ...(digest === undefined ? {} : { digest }), reason }),
      onNotice: (reason, digest) => notices.push({ ...about, ...(digest === undefined ? {} : { digest }), reason })
    })
  } catch (error) {
    return void fault(reasonOf(error))
  }
}

async function closeAll(archives: readonly OpenArchive[]): Promise<void> {
  await Promise.all(archives.map(each => each.bytes[Symbol.asyncDispose]()))
}
