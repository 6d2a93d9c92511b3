import { type Digest, isDigest } from '../oci/digest.ts'
import type { Archive } from './archives.ts'
import type { BundleFault } from './faults.ts'
import { JoinedFile } from './joined-file.ts'
import { type TarEntry, tarEntries } from './tar/entries.ts'
import { TarFault } from './tar/header.ts'

/** Bytes of an entry in an archive of a bundle. */
export interface Located {
  archive: OpenArchive
  entry: string
  offset: number
  size: number
}

/** An archive whose headers were read. */
export interface OpenArchive {
  name: string
  bytes: JoinedFile
}

/** What an archive has. */
export interface ArchiveIndex {
  archive: OpenArchive
  /** Blobs and manifests by digest, with the path of the layout that each lies in. */
  blobs: { digest: Digest; layout: string; located: Located }[]
  /** The `index.json` of each layout, by the layout's path. */
  layouts: Map<string, Located>
  /** How many headers were read. */
  entries: number
  faults: BundleFault[]
}

const indexName = /^(?:(.+)\/)?index\.json$/
const blobName = /^(?:(.+)\/)?blobs\/([a-z0-9]+)\/([a-f0-9]+)$/
const legacyModule = /^module-(.+)\.tar$/

/**
 * Reads the headers of an archive. Of one that has what no bundle has nothing is used; of one that was cut, what lies
 * before the cut. The caller closes the archive.
 */
export async function indexArchive(
  { name, paths }: Archive,
  { maxEntries, signal }: { maxEntries: number; signal: AbortSignal }
): Promise<ArchiveIndex> {
  const archive: OpenArchive = { name, bytes: await JoinedFile.open(paths) }
  const entries = new Map<string, TarEntry>()
  const faults: BundleFault[] = []
  try {
    for await (const entry of tarEntries(archive.bytes, { maxEntries, signal })) {
      if (entries.has(entry.name)) throw new TarFault('refused', 'the entry is there twice', { offset: entry.offset, entry: entry.name })
      entries.set(entry.name, entry)
    }
  } catch (error) {
    if (!(error instanceof TarFault)) {
      await archive.bytes[Symbol.asyncDispose]()
      throw error
    }
    faults.push(faultOf(error, archive))
    if (error.kind === 'refused') entries.clear()
  }
  return { archive, faults, entries: entries.size, ...sorted(archive, entries) }
}

function faultOf({ message, offset, entry, kind }: TarFault, { name, bytes }: OpenArchive): BundleFault {
  const digest = entry === undefined ? undefined : digestIn(entry)?.digest
  const reason = kind === 'refused' ? `${message}; nothing of this archive is used` : message
  return {
    archive: name,
    ...bytes.placeOf(offset),
    ...(entry === undefined ? {} : { entry }),
    ...(digest === undefined ? {} : { digest }),
    reason
  }
}

function sorted(archive: OpenArchive, entries: ReadonlyMap<string, TarEntry>): Pick<ArchiveIndex, 'blobs' | 'layouts'> {
  const root = rootOf(archive.name, entries)
  // Strings of one layout are kept once.
  const layoutsByText = new Map<string, string>()
  const layoutAt = (path: string | undefined): string => {
    const text = [root, path].filter(part => part !== undefined && part !== '').join('/')
    const known = layoutsByText.get(text)
    if (known === undefined) layoutsByText.set(text, text)
    return known ?? text
  }
  const blobs: ArchiveIndex['blobs'] = []
  const layouts: ArchiveIndex['layouts'] = new Map()
  for (const { name: entry, offset, size } of entries.values()) {
    const located = { archive, entry, offset, size }
    const found = digestIn(entry)
    if (found) blobs.push({ digest: found.digest, layout: layoutAt(found.layout), located })
    const index = indexName.exec(entry)
    if (index) layouts.set(layoutAt(index[1]), located)
  }
  return { blobs, layouts }
}

// Former versions of d8 packed a module without the path of its layout. An archive that has such paths was renamed.
function rootOf(name: string, entries: ReadonlyMap<string, TarEntry>): string {
  const [, module] = legacyModule.exec(name) ?? []
  if (module === undefined || [...entries.keys()].some(entry => entry.startsWith('modules/'))) return ''
  return `modules/${module}`
}

/** The digest that the name of an entry is, and its layout's path. */
export function digestIn(entry: string): { digest: Digest; layout: string | undefined } | undefined {
  const [, layout, algorithm, encoded] = blobName.exec(entry) ?? []
  const digest = `${algorithm}:${encoded}`
  return isDigest(digest) ? { digest, layout } : undefined
}
