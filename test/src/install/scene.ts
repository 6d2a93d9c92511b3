import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { InstallOptions } from '../../../src/install/install.ts'
import type { OwnedDirectory } from '../../../src/install/owned.ts'

/** A new folder that is removed when the test ends. */
export async function folder(t: Test): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'registry-install-'))
  t.teardown(() => rm(made, { recursive: true, force: true }))
  return made
}

/** Options for a root whose `.yaml` files refer to others. */
export function optionsFor(root: string): InstallOptions {
  return { root, refersToOthers: file => file.endsWith('.yaml'), accessHint: 'run this as root' }
}

/** A directory of files by name and text, all with mode 644. */
export function directoryOf(name: string, files: Record<string, string>): OwnedDirectory {
  return { name, files: Object.entries(files).map(([file, text]) => ({ name: file, text, mode: 0o644 })) }
}

/** Everything below a folder: path → mode and content, target of a link, or `directory`. */
export async function snapshot(root: string): Promise<Record<string, string>> {
  const names = (await readdir(root, { recursive: true })).sort()
  const entries = await Promise.all(names.map(async name => [name, await describe(join(root, name))] as const))
  return Object.fromEntries(entries)
}

async function describe(path: string): Promise<string> {
  const found = await lstat(path)
  if (found.isDirectory()) return 'directory'
  if (found.isSymbolicLink()) return `-> ${await readlink(path)}`
  return `${(found.mode & 0o777).toString(8)} ${await readFile(path, 'utf8')}`
}
