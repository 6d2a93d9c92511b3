import { lstat, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { exists, type FileState, isDirectory, list, readState, tempBeside } from '../../install/files.ts'
import { places, podUser } from '../layout.ts'
import type { Saved } from '../pki/material.ts'
import { ownPodUser, type PodOwner } from '../render/pods.ts'
import { directoriesAbove } from './ownership.ts'
import type { NodeFound } from './plan.ts'
import { keptDirectory, keptName, keptPath, type NodeRecord } from './record.ts'

/** The files of a node that a plan looks at. */
export type FilesFound = Pick<NodeFound, 'files' | 'kept' | 'leftovers' | 'stale' | 'missing' | 'blockers'>

// They go with the record.
const ownDirectories: ReadonlySet<string> = new Set([...directoriesAbove(places.state), places.state])

/** Reads the wanted and the recorded files of the node below `root`; changes nothing. */
export async function findFiles(root: string, wanted: readonly string[], record: NodeRecord): Promise<FilesFound> {
  const paths = [...new Set([...wanted, ...record.files.keys()])]
  const directories = [...new Set(paths.flatMap(directoriesAbove))]
  const blockers: string[] = []
  const missing: string[] = []
  const blocked = new Set<string>()
  for (const directory of directories) {
    if (directoriesAbove(directory).some(each => blocked.has(each))) continue
    const found = await isDirectory(join(root, directory)).catch((error: Error) => error)
    if (found instanceof Error) {
      blocked.add(directory)
      blockers.push(found.message)
    } else if (!found && !ownDirectories.has(directory) && wanted.some(path => path.startsWith(`${directory}/`))) missing.push(directory)
  }
  const files = new Map<string, FileState>()
  const kept = new Map<string, FileState>()
  const leftovers: string[] = []
  for (const path of paths) {
    if (directoriesAbove(path).some(each => blocked.has(each))) continue
    const found = await readState(join(root, path)).catch((error: Error) => error)
    if (found instanceof Error) blockers.push(found.message)
    else if (found) files.set(path, found)
    if (await exists(tempBeside(join(root, path)))) leftovers.push(tempBeside(path))
    const copy = await readState(join(root, keptPath(path)))
    if (copy && record.files.has(path)) kept.set(path, copy)
  }
  return { files, kept, leftovers, stale: await staleCopies(root, record), missing, blockers }
}

// Those of an interrupted run that came no further, or of one that came to its end but for these.
async function staleCopies(root: string, { files }: NodeRecord): Promise<string[]> {
  const known = new Set([...files.keys()].map(keptName))
  return (await list(join(root, keptDirectory))).filter(name => !known.has(name)).map(name => join(keptDirectory, name))
}

/** What an earlier apply made and keeps: keys, certificates, passwords. */
export async function findSaved(root: string): Promise<Saved> {
  const text = async (path: string) => {
    const state = await readState(join(root, path)).catch(() => undefined)
    return state?.kind === 'file' ? Buffer.from(state.text, 'latin1').toString('utf8') : undefined
  }
  const pair = async (certificate: string, key: string) => {
    const [found, secret] = await Promise.all([text(certificate), text(key)])
    return found === undefined ? undefined : { certificate: found, key: secret ?? '' }
  }
  return {
    registry: await pair(`${places.registryPki}/distribution.crt`, `${places.registryPki}/distribution.key`),
    agent: await pair(`${places.agentPki}/agent.crt`, `${places.agentPki}/agent.key`),
    agentAuthority: await pair(`${places.state}/agent-ca.crt`, `${places.state}/agent-ca.key`),
    registryAuthority: await pair(`${places.state}/registry-ca.crt`, `${places.state}/registry-ca.key`),
    clientPassword: (await text(`${places.agent}/client-password`))?.trim(),
    htpasswd: await text(`${places.registry}/htpasswd`)
  }
}

/** The storage of the replica. */
export interface DataFound {
  /** The root of the storage, relative to that of the node. */
  path: string
  /** As whom the replica runs. */
  owner: PodOwner
  state: NodeFound['data']
  blockers: readonly string[]
}

/** The directory of a replica of the original, in that of all. */
const originalData = 'local_data'

/**
 * Finds the storage of a replica. Content that is there stays where it is and whose it is, so that a replica runs as
 * its owner; an empty directory, such as that of a new disk, is given to the user of the image.
 */
export async function findData(root: string): Promise<DataFound> {
  const top = join(root, places.data)
  try {
    if (!(await exists(top))) {
      for (const directory of directoriesAbove(places.data)) await isDirectory(join(root, directory))
      return { path: places.data, owner: ownPodUser, state: 'absent', blockers: [] }
    }
    // That of another disk. To give it to others could reach out of the root.
    const linked = (await lstat(top)).isSymbolicLink()
    const names = (await readdir(top)).filter(name => name !== 'lost+found')
    const path = names.includes(originalData) && !names.includes('docker') ? `${places.data}/${originalData}` : places.data
    const { uid, gid } = await stat(join(root, path))
    if (uid === ownPodUser.uid) return { path, owner: { uid, gid }, state: 'usable', blockers: [] }
    return names.length === 0 && !linked
      ? { path, owner: ownPodUser, state: 'foreign and empty', blockers: [] }
      : { path, owner: { uid, gid }, state: 'usable', blockers: [] }
  } catch (error) {
    return { path: places.data, owner: ownPodUser, state: 'usable', blockers: [(error as Error).message] }
  }
}

/** Finds the directory in which the agent keeps something. An interrupted run may have made it for no user yet. */
export async function findAgentState(root: string): Promise<NodeFound['agentState']> {
  const path = join(root, places.agentState)
  if (!(await isDirectory(path))) return 'absent'
  return process.geteuid?.() !== 0 || (await lstat(path)).uid === podUser ? 'usable' : 'foreign'
}

/** Registry hosts below `config_path` that apply did not write. They stay, and containerd reads them. */
export async function foreignHosts(root: string, configPath: string, { files }: NodeRecord): Promise<string[]> {
  const names = (await list(join(root, configPath))).filter(name => !name.startsWith('.'))
  return names.filter(name => ![...files.keys()].some(path => path.startsWith(`${configPath}/${name}/`))).sort()
}
