import { join } from 'node:path'
import { type FileState, isDirectory, readState } from './files.ts'
import {
  backupPath,
  checkDirectory,
  checkFile,
  isSameOwnership,
  type OwnedDirectory,
  type OwnedEntry,
  type Ownership,
  readOwnership
} from './owned.ts'

/** One file that will differ. `give back` restores the foreign file that an earlier install replaced. */
export interface FileChange {
  kind: 'write' | 'give back' | 'remove'
  path: string
  before?: FileState
  after?: FileState
}

/** A foreign file that is copied before an owned file replaces it. */
export interface FileBackup {
  from: string
  to: string
  file: FileState
}

/** Everything that an install will do, in order. */
export interface InstallPlan {
  root: string
  backups: readonly FileBackup[]
  changes: readonly FileChange[]
  /** Directories to remove if they are empty afterwards; children first. */
  leaving: readonly string[]
  /** What is owned before, during and after the changes. */
  ownership: { before: Ownership; during: Ownership; after: Ownership }
}

/**
 * Whether a file refers to others of the install by their path (a hosts.toml to its CA, a manifest to its PKI).
 * Such files are written after all others and removed before them, so that a reader never finds a dangling reference.
 */
export type RefersToOthers = (file: string) => boolean

/** Compares the root with the files that it should hold; no directories means a restore. Changes nothing. */
export async function planInstall(
  root: string,
  directories: readonly OwnedDirectory[],
  refersToOthers: RefersToOthers
): Promise<InstallPlan> {
  for (const { name, files } of directories) {
    checkDirectory('directory', name)
    for (const file of files) checkFile(name, file.name)
  }
  const before = await readOwnership(root)
  const after = await ownershipOf(root, before, directories)
  const { backups, writes } = await planWrites(root, before, directories)
  const changes = [...writes, ...(await planReleases(root, before, after))]
  return {
    root,
    backups,
    changes: changes.toSorted((a, b) => rank(a, refersToOthers) - rank(b, refersToOthers)),
    leaving: leavingDirectories(before, after).map(name => join(root, name)),
    ownership: { before, during: union(before, after), after }
  }
}

/** Whether the root already is as it should be. */
export function isUpToDate({ changes, backups, ownership }: InstallPlan): boolean {
  return changes.length === 0 && backups.length === 0 && isSameOwnership(ownership.before, ownership.after)
}

async function planWrites(
  root: string,
  before: Ownership,
  directories: readonly OwnedDirectory[]
): Promise<{ backups: FileBackup[]; writes: FileChange[] }> {
  const backups: FileBackup[] = []
  const writes: FileChange[] = []
  for (const { name, files } of directories) {
    for (const file of files) {
      const path = join(root, name, file.name)
      const found = await readState(path)
      const wanted: FileState = { kind: 'file', text: Buffer.from(file.text).toString('latin1'), mode: file.mode }
      if (found && !before.get(name)?.files.includes(file.name)) {
        backups.push({ from: path, to: backupPath(root, name, file.name), file: found })
      }
      if (!found || !isEqual(found, wanted)) writes.push({ kind: 'write', path, after: wanted, ...(found ? { before: found } : {}) })
    }
  }
  return { backups, writes }
}

async function ownershipOf(root: string, before: Ownership, directories: readonly OwnedDirectory[]): Promise<Ownership> {
  const owned = new Map<string, OwnedEntry>()
  for (const { name, files } of directories) {
    for (const parent of parentsOf(name)) {
      const found = await isDirectory(join(root, parent))
      owned.set(parent, { made: before.get(parent)?.made ?? !found, files: owned.get(parent)?.files ?? [] })
    }
    const made = owned.get(name)?.made ?? false
    owned.set(name, { made, files: files.map(file => file.name) })
  }
  return owned
}

// `a`, `a/b` of `a/b`. The root itself is never created for good, so it has no entry of its own.
function parentsOf(name: string): string[] {
  if (name === '.') return []
  const components = name.split('/')
  return components.map((_, index) => components.slice(0, index + 1).join('/'))
}

async function planReleases(root: string, before: Ownership, after: Ownership): Promise<FileChange[]> {
  const changes: FileChange[] = []
  for (const [name, { files }] of before) {
    const kept = after.get(name)?.files ?? []
    for (const file of files) {
      const change = kept.includes(file) ? undefined : await release(root, name, file)
      if (change) changes.push(change)
    }
  }
  return changes
}

async function release(root: string, name: string, file: string): Promise<FileChange | undefined> {
  // A directory that became a link since the last install is foreign now: throws.
  for (const parent of parentsOf(name)) await isDirectory(join(root, parent))
  const path = join(root, name, file)
  const [found, backup] = [await readState(path), await readState(backupPath(root, name, file))]
  const before = found ? { before: found } : {}
  if (backup) return found && isEqual(found, backup) ? undefined : { kind: 'give back', path, after: backup, ...before }
  return found ? { kind: 'remove', path, ...before } : undefined
}

function leavingDirectories(before: Ownership, after: Ownership): string[] {
  const leaving = [...before].filter(([name, { made }]) => made && !after.has(name)).map(([name]) => name)
  return leaving.toSorted((a, b) => parentsOf(b).length - parentsOf(a).length)
}

function union(before: Ownership, after: Ownership): Ownership {
  const both = new Map(before)
  for (const [name, { made, files }] of after) both.set(name, { made, files: [...new Set([...(before.get(name)?.files ?? []), ...files])] })
  return both
}

function rank({ kind, path }: FileChange, refersToOthers: RefersToOthers): number {
  const refers = refersToOthers(path.slice(path.lastIndexOf('/') + 1))
  if (kind === 'remove') return refers ? 2 : 3
  return refers ? 1 : 0
}

function isEqual(one: FileState, other: FileState): boolean {
  return one.kind === other.kind && one.text === other.text && (one.kind === 'link' || one.mode === other.mode)
}
