import { join } from 'node:path'
import type { Found } from './disk.ts'
import { exists, find, isDirectory } from './disk.ts'
import type { HostDirectory } from './hosts.ts'
import { hostsFile } from './hosts.ts'
import type { Owned, State } from './state.ts'
import { checkFile, checkName, isSame, ownDirectory, readState } from './state.ts'

/** One file that will differ: `write` is ours, `give back` is the one that stood there before ours. */
export interface Change {
  kind: 'write' | 'give back' | 'remove'
  path: string
  before?: Found
  after?: Found
}

/** A file that is not ours yet and has to be kept before it is replaced. */
export interface Backup {
  from: string
  to: string
  file: Found
}

/** Everything that an install will do, in its order. */
export interface Plan {
  root: string
  backups: readonly Backup[]
  changes: readonly Change[]
  /** Directories to remove if nothing is left in them. */
  leaving: readonly string[]
  /** What is ours before, while and after the changes are made. */
  states: { before: State; during: State; after: State }
  /** What will keep containerd from reading what is written. */
  warnings: readonly string[]
}

/** Where the file is kept that stood in the way of one of ours. */
export function backupPath(root: string, directory: string, file: string): string {
  return join(root, ownDirectory, 'backup', directory, file)
}

/** Compares the root with what it should hold; an empty list gives everything back. Changes nothing. */
export async function planInstall(root: string, directories: readonly HostDirectory[]): Promise<Plan> {
  for (const { name, files } of directories) {
    checkName('directory', name)
    for (const file of files) checkFile(name, file.name)
  }
  const before = await readState(root)
  const after = await owning(root, before, directories)
  const backups: Backup[] = []
  const changes: Change[] = []
  for (const { name, files } of directories) {
    for (const file of files) {
      const path = join(root, name, file.name)
      const found = await find(path)
      const wanted: Found = { kind: 'file', text: Buffer.from(file.text).toString('latin1'), mode: file.mode }
      if (found && !before.get(name)?.files.includes(file.name)) {
        backups.push({ from: path, to: backupPath(root, name, file.name), file: found })
      }
      if (!found || !isEqual(found, wanted)) changes.push({ kind: 'write', path, after: wanted, ...(found ? { before: found } : {}) })
    }
  }
  for (const [name, file] of gone(before, after)) {
    const change = await release(root, name, file)
    if (change) changes.push(change)
  }
  return {
    root,
    backups,
    changes: changes.toSorted((a, b) => rank(a) - rank(b)),
    leaving: [...before].filter(([name, { made }]) => made && !after.has(name)).map(([name]) => join(root, name)),
    states: { before, during: union(before, after), after },
    warnings: await shadows(root, directories)
  }
}

/** Whether the root already is as it should be. */
export function isSettled({ changes, backups, states }: Plan): boolean {
  return changes.length === 0 && backups.length === 0 && isSame(states.before, states.after)
}

async function owning(root: string, before: State, directories: readonly HostDirectory[]): Promise<State> {
  const owned = new Map<string, Owned>()
  for (const { name, files } of directories) {
    const there = await isDirectory(join(root, name))
    owned.set(name, { made: before.get(name)?.made ?? !there, files: files.map(file => file.name) })
  }
  return owned
}

// The directory of a host that left may have become a link since: then it is not ours any more.
async function release(root: string, name: string, file: string): Promise<Change | undefined> {
  await isDirectory(join(root, name))
  const path = join(root, name, file)
  const [found, kept] = [await find(path), await find(backupPath(root, name, file))]
  const before = found ? { before: found } : {}
  if (kept) return found && isEqual(found, kept) ? undefined : { kind: 'give back', path, after: kept, ...before }
  return found ? { kind: 'remove', path, ...before } : undefined
}

function gone(before: State, after: State): [name: string, file: string][] {
  return [...before].flatMap(([name, { files }]) => {
    const stay = after.get(name)?.files ?? []
    return files.filter(file => !stay.includes(file)).map((file): [string, string] => [name, file])
  })
}

function union(before: State, after: State): State {
  const both = new Map(before)
  for (const [name, { made, files }] of after) both.set(name, { made, files: [...new Set([...(before.get(name)?.files ?? []), ...files])] })
  return both
}

// A hosts.toml must never name a CA file that is not there: containerd then fails every pull.
function rank({ kind, path }: Change): number {
  const toml = path.endsWith(`/${hostsFile}`)
  if (kind === 'remove') return toml ? 2 : 3
  return toml ? 1 : 0
}

async function shadows(root: string, directories: readonly HostDirectory[]): Promise<string[]> {
  const warnings: string[] = []
  for (const { name } of directories) {
    const colon = name.lastIndexOf(':')
    if (colon === -1) continue
    const other = join(root, `${name.slice(0, colon)}_${name.slice(colon + 1)}_`)
    if (await exists(other)) warnings.push(`${other} is there: containerd reads it in place of ${join(root, name)}`)
  }
  return warnings
}

function isEqual(one: Found, other: Found): boolean {
  return one.kind === other.kind && one.text === other.text && (one.kind === 'link' || one.mode === other.mode)
}
