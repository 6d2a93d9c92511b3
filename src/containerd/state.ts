import { join } from 'node:path'
import { find, makeDirectory, place } from './disk.ts'
import { checkHost } from './values.ts'

/** Our directory below containerd's; no registry host begins with a dot. `tmp` holds files in the making, `backup` what stood where ours are now. */
export const ownDirectory = '.deckhouse-registry'

/** What is ours in one host's directory, and whether the directory itself was made by us. */
export interface Owned {
  made: boolean
  files: readonly string[]
}

/** Host directories by name. What is not listed here is somebody else's. */
export type State = ReadonlyMap<string, Owned>

const version = 1

/** What earlier installs left in the root; throws where the file says nothing that could be trusted. */
export async function readState(root: string): Promise<State> {
  const path = statePath(root)
  const found = await find(path)
  if (found === undefined) return new Map()
  try {
    return parse(found.text)
  } catch (cause) {
    const { message } = cause as Error
    throw new Error(`${path} is damaged (${message}): nothing is touched; without the file everything below ${root} counts as not ours`, {
      cause
    })
  }
}

/** Replaces the list of what is ours. */
export async function writeState(root: string, state: State): Promise<void> {
  await makeDirectory(join(root, ownDirectory), 0o700)
  await place(statePath(root), { kind: 'file', text: print(state), mode: 0o600 }, join(root, ownDirectory, 'tmp'))
}

/** Whether both list the same. */
export function isSame(one: State, other: State): boolean {
  return print(one) === print(other)
}

/** Throws unless the name is one directory or file right below the root or a host's directory. */
export function checkName(where: string, name: string): void {
  if (name !== '_default') checkHost(where, name)
}

function statePath(root: string): string {
  return join(root, ownDirectory, 'state.json')
}

function print(state: State): string {
  const sorted = [...state].sort(([a], [b]) => (a < b ? -1 : 1))
  const directories = Object.fromEntries(sorted.map(([name, { made, files }]) => [name, { made, files: [...files].sort() }]))
  return `${JSON.stringify({ version, directories }, null, 2)}\n`
}

function parse(text: string): State {
  const { version: found, directories }: { version?: unknown; directories?: unknown } = JSON.parse(text)
  if (found !== version) throw new Error(`version ${JSON.stringify(found)} is not known`)
  if (!isTable(directories)) throw new Error('directories is not a table')
  return new Map(Object.entries(directories).map(([name, owned]) => [name, parseOwned(name, owned)]))
}

// A name from the file becomes a path that is written to and removed.
function parseOwned(name: string, owned: unknown): Owned {
  checkName('directories', name)
  if (!isTable(owned) || !Array.isArray(owned['files'])) throw new Error(`${name} has no files`)
  const files = owned['files'].map(String)
  for (const file of files) checkFile(name, file)
  return { made: owned['made'] === true, files }
}

/** Throws unless the name is that of a file in a host's directory. */
export function checkFile(where: string, name: string): void {
  if (!/^[0-9A-Za-z][0-9A-Za-z._:[\]-]{0,254}$/.test(name))
    throw new Error(`${where}: ${JSON.stringify(name.slice(0, 100))} is not a file name`)
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
