import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { BundleFault } from './faults.ts'

/** An archive of a bundle: one file, or chunks of it. */
export interface Archive {
  /** As d8 calls it, such as `platform.tar`. */
  name: string
  /** In their order. */
  paths: string[]
}

// As d8 accepts them.
const chunkName = /^(.+\.tar)\.(\d{4,})\.chunk$/

/** The archive that a file is, or is a chunk of; undefined for other files. */
export function archiveNameOf(file: string): { name: string; chunk?: number } | undefined {
  const [, name, digits] = chunkName.exec(file) ?? []
  if (name !== undefined) return { name, chunk: Number(digits) }
  return file.endsWith('.tar') ? { name: file } : undefined
}

/**
 * The archives in directories, and those that files are or belong to, by name. `only` keeps those of these names.
 * Throws for a path that cannot be read and for one without archives; missing and doubled chunks are faults.
 */
export async function findArchives(
  paths: readonly string[],
  only: readonly string[] = []
): Promise<{ archives: Archive[]; faults: BundleFault[] }> {
  const found = new Map<string, { name: string; folder: string; files: { path: string; chunk?: number }[] }>()
  for (const path of paths) {
    const { folder, isWanted } = await placeOf(path)
    let any = false
    for (const file of await readdir(folder)) {
      const archive = archiveNameOf(file)
      if (
        !archive ||
        !isWanted(archive.name) ||
        (only.length > 0 && !only.some(each => archiveNameOf(basename(each))?.name === archive.name))
      )
        continue
      any = true
      const key = join(folder, archive.name)
      const entry = found.get(key) ?? { name: archive.name, folder, files: [] }
      found.set(key, entry)
      const filePath = join(folder, file)
      if (!entry.files.some(each => each.path === filePath))
        entry.files.push({ path: filePath, ...(archive.chunk === undefined ? {} : { chunk: archive.chunk }) })
    }
    if (!any)
      throw new Error(
        `${path}: no archives of a bundle are there (*.tar, *.tar.NNNN.chunk)${only.length > 0 ? ` called ${only.join(', ')}` : ''}`
      )
  }
  const faults: BundleFault[] = []
  const archives = [...found.values()]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(each => ({ name: each.name, paths: inOrder(each, faults) }))
  return { archives, faults }
}

async function placeOf(path: string): Promise<{ folder: string; isWanted: (name: string) => boolean }> {
  const info = await stat(path).catch(error => {
    // A chunked archive is called as if it were one file.
    if (error.code === 'ENOENT' && path.endsWith('.tar')) return undefined
    throw error
  })
  if (info?.isDirectory()) return { folder: resolve(path), isWanted: () => true }
  const archive = archiveNameOf(basename(path))
  if (!archive) throw new Error(`${path}: neither a directory nor an archive of a bundle (*.tar, *.tar.NNNN.chunk)`)
  return { folder: resolve(dirname(path)), isWanted: name => name === archive.name }
}

/** The files up to the first chunk that is missing: what follows it cannot be placed. */
function inOrder({ name, files }: { name: string; files: { path: string; chunk?: number }[] }, faults: BundleFault[]): string[] {
  const whole = files.find(each => each.chunk === undefined)
  if (whole) {
    if (files.length > 1) faults.push({ archive: name, reason: 'it is there as a whole and in chunks: keep one of them' })
    return [whole.path]
  }
  const paths: string[] = []
  for (const { path, chunk = 0 } of files.toSorted((a, b) => (a.chunk ?? 0) - (b.chunk ?? 0))) {
    if (chunk > paths.length) {
      faults.push({ archive: name, reason: `chunk ${String(paths.length).padStart(4, '0')} is missing` })
      break
    }
    if (chunk < paths.length)
      faults.push({ archive: name, reason: `chunk ${String(chunk).padStart(4, '0')} is there twice: ${basename(path)}` })
    else paths.push(path)
  }
  return paths
}
