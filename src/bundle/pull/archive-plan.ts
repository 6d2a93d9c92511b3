import type { Digest } from '../../oci/digest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import { annotations } from '../layout-index.ts'
import { blockBytes, paddedBytes, writeHeader } from '../tar/header.ts'

/** A manifest of a layout, named in its `index.json` if it has a tag. */
export interface LayoutManifest {
  bytes: Uint8Array
  mediaType: string
  digest: Digest
  /** The tags it is listed under, with the reference that it was pulled by. */
  listed: { tag: Tag; reference: string }[]
}

/** A repository that is going to be a layout in an archive. */
export interface LayoutContent {
  /** Below the root of the bundle. */
  path: string
  /** At the source. */
  name: Name
  manifests: ReadonlyMap<Digest, LayoutManifest>
  /** Sizes in bytes, by digest. */
  blobs: ReadonlyMap<Digest, number>
}

/** Bytes at a place of an archive: at hand, or a blob of a repository of the source. */
export type Piece = { offset: number; bytes: Buffer } | BlobPiece

/** A blob at a place of an archive. */
export interface BlobPiece {
  offset: number
  size: number
  digest: Digest
  name: Name
}

/** An archive before it is written: each byte has its place, so that it can be written in any order. */
export interface ArchivePlan {
  /** `platform.tar` */
  name: string
  size: number
  /** By offset. What lies between them is zero. */
  pieces: Piece[]
}

const layoutMark = Buffer.from('{"imageLayoutVersion":"1.0.0"}')
const single: Readonly<Record<string, string>> = { installer: 'installer', security: 'security' }
const byItem: Readonly<Record<string, string>> = { modules: 'module', packages: 'package' }

/** The archive in which d8 keeps the layout of a path. The name does not decide where it is pushed to. */
export function archiveOf(path: string): string {
  const [first = '', second = '', third] = path.split('/')
  if (first === 'deckhouse-cli') return second === 'plugins' && third !== undefined ? `plugin-${third}.tar` : 'deckhouse-cli.tar'
  const item = byItem[first]
  if (item !== undefined && second !== '') return `${item}-${second}.tar`
  return `${single[first] ?? 'platform'}.tar`
}

/** The archives for layouts. The same layouts always give the same bytes. */
export function planArchives(layouts: readonly LayoutContent[]): ArchivePlan[] {
  const groups = Map.groupBy(
    layouts.toSorted((a, b) => compare(a.path, b.path)),
    each => archiveOf(each.path)
  )
  return [...groups].sort(([a], [b]) => compare(a, b)).map(([name, group]) => planArchive(name, group))
}

function planArchive(name: string, layouts: readonly LayoutContent[]): ArchivePlan {
  const pieces: Piece[] = []
  let size = 0
  const add = (entry: string, content: Buffer | Omit<BlobPiece, 'offset'>) => {
    const length = Buffer.isBuffer(content) ? content.length : content.size
    const header = writeHeader(entry, length)
    pieces.push({ offset: size, bytes: header })
    size += header.length
    pieces.push(Buffer.isBuffer(content) ? { offset: size, bytes: content } : { ...content, offset: size })
    size += paddedBytes(length)
  }
  for (const layout of layouts) {
    const at = (file: string) => (layout.path === '' ? file : `${layout.path}/${file}`)
    add(at('oci-layout'), layoutMark)
    add(at('index.json'), indexOf(layout))
    for (const digest of [...layout.manifests.keys(), ...layout.blobs.keys()].sort()) {
      const manifest = layout.manifests.get(digest)
      const content = manifest ? Buffer.from(manifest.bytes) : { size: layout.blobs.get(digest) ?? 0, digest, name: layout.name }
      add(at(`blobs/${digest.replace(':', '/')}`), content)
    }
  }
  return { name, size: size + 2 * blockBytes, pieces }
}

function indexOf({ manifests }: LayoutContent): Buffer {
  const listed = [...manifests.values()].flatMap(({ digest, mediaType, bytes, listed: tags }) =>
    tags.map(({ tag, reference }) => ({
      mediaType,
      digest,
      size: bytes.length,
      annotations: { [annotations.reference]: reference, [annotations.shortTag]: tag }
    }))
  )
  const order = ({ annotations: named, digest }: (typeof listed)[number]) => `${named[annotations.shortTag]} ${digest}`
  const manifestList = listed.toSorted((a, b) => compare(order(a), order(b)))
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: manifestList }))
}

// In the order of bytes, whatever the locale is.
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
