import { createHash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { pack } from 'tar-stream'

/** A file, folder or symbolic link of an image. */
export interface Entry {
  /** Absolute path in the image. */
  path: string
  /** The bytes of a file; a folder has none. */
  content?: Uint8Array
  /** The target of a symbolic link. */
  link?: string
  /** Permission bits, 0o644 for files and 0o755 for folders if left out. */
  mode?: number
  /** Numeric owner and group, 0 if left out. */
  owner?: number
}

/** A layer, as it is stored in a registry. */
export interface Layer {
  /** The gzip of the archive. */
  bytes: Uint8Array
  /** The digest of the archive that was compressed (image-spec, config.md, "DiffID"). */
  diffId: string
}

/**
 * Packs entries, and the folders above them, into a layer: in the order of their paths, of one moment. The same entries
 * give the same bytes.
 */
export async function makeLayer(entries: readonly Entry[], modified: Date): Promise<Layer> {
  const archive = pack()
  const read = buffer(archive)
  for (const entry of inOrder(entries)) {
    const { path, content, link, owner = 0 } = entry
    const header = {
      name: path.slice(1),
      mode: entry.mode ?? (content || link ? 0o644 : 0o755),
      uid: owner,
      gid: owner,
      mtime: modified,
      type: content ? ('file' as const) : link ? ('symlink' as const) : ('directory' as const),
      ...(link ? { linkname: link } : {})
    }
    if (content) archive.entry(header, content)
    else archive.entry(header)
  }
  archive.finalize()
  const tar = await read
  return { bytes: await promisify(gzip)(tar, { level: 9 }), diffId: digestOf(tar) }
}

/** The sha256 digest of bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function inOrder(entries: readonly Entry[]): Entry[] {
  const all = new Map<string, Entry>()
  for (const entry of entries) {
    const folders = entry.path.split('/').slice(1, -1)
    for (let depth = 1; depth <= folders.length; depth++) {
      const path = `/${folders.slice(0, depth).join('/')}`
      if (!all.has(path)) all.set(path, { path })
    }
    all.set(entry.path, entry)
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}
