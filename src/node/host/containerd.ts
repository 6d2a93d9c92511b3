import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import { exists, readState } from '../../install/files.ts'
import { places } from '../layout.ts'
import { CommandFailed, runCommand } from './command.ts'
import { registryTable } from './containerd-config.ts'

/** What is known of containerd on a node. */
export interface ContainerdFound {
  /** Such as `1.7.27`; absent where the program was not found. */
  version?: string
  /** The first directory of `config_path`, absolute on the node; absent where it is not set. */
  configPath?: string
  /** The configuration file; absent where there is none. */
  configText?: string
  /** What keeps it from reading hosts files, and what to do, a line each. */
  blockers: readonly string[]
  warnings: readonly string[]
}

const timeoutMs = 10_000
const oldest = [1, 6] as const

/** Looks at containerd of the node below `root` without changing anything. */
export async function findContainerd(root: string): Promise<ContainerdFound> {
  const file = join(root, places.containerdConfig)
  const state = await readState(file)
  const version = await versionOf()
  const [blockers, warnings]: [string[], string[]] = [[], []]
  if (version === undefined) warnings.push('containerd: no such program on this machine: its version is taken to be 1.6')
  else if (isOlder(version)) blockers.push(`containerd ${version} is too old: upgrade it to ${oldest.join('.')} or newer`)
  if (state?.kind === 'link')
    blockers.push(`${file} is a symbolic link: put the file itself there, or set config_path in its target yourself`)
  else if (!state) blockers.push(...(await otherOwners(root)))
  const text = state?.kind === 'file' ? Buffer.from(state.text, 'latin1').toString('utf8') : undefined
  const settings = await effectiveRegistry(file, text, version, warnings)
  if (typeof settings === 'string') blockers.push(settings)
  else if (!settings['config_path']) blockers.push(...legacySettings(file, settings), ...(await customFiles(root)))
  const configPath = typeof settings === 'string' ? undefined : firstPath(settings['config_path'])
  return {
    ...(version === undefined ? {} : { version }),
    ...(configPath === undefined ? {} : { configPath }),
    ...(text === undefined ? {} : { configText: text }),
    blockers,
    warnings
  }
}

async function versionOf(): Promise<string | undefined> {
  try {
    const { stdout } = await runCommand('containerd', ['--version'], timeoutMs)
    return /\sv?(\d+\.\d+\.\d+)/.exec(stdout)?.[1]
  } catch (error) {
    if (error instanceof CommandFailed && error.code === 'ENOENT') return undefined
    throw error
  }
}

function isOlder(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major < oldest[0] || (major === oldest[0] && minor < oldest[1])
}

// What containerd makes of its file with all that it imports; without the program, the file alone.
async function effectiveRegistry(
  file: string,
  text: string | undefined,
  version: string | undefined,
  warnings: string[]
): Promise<Record<string, unknown> | string> {
  if (text === undefined && version === undefined) return {}
  if (text !== undefined && version === undefined) {
    warnings.push(`${file}: files that it imports are not looked at, since containerd is not there to ask`)
    return parsed(file, text)
  }
  try {
    const command = text === undefined ? ['config', 'default'] : ['--config', file, 'config', 'dump']
    const { stdout } = await runCommand('containerd', command, timeoutMs)
    return parsed(file, stdout)
  } catch (error) {
    return `containerd cannot read ${file}: ${(error as Error).message}`
  }
}

function parsed(file: string, text: string): Record<string, unknown> | string {
  try {
    return registryTable(parse(text)) ?? {}
  } catch {
    return `${file} is no TOML: containerd would not start with it`
  }
}

// With config_path set, containerd refuses to start beside mirrors, or TLS settings of its own file.
function legacySettings(file: string, registry: Record<string, unknown>): string[] {
  const { mirrors, configs } = registry
  const tables: [string, unknown][] = [
    ['registry.mirrors', mirrors],
    ['registry.configs', configs]
  ]
  return tables
    .filter(([, table]) => typeof table === 'object' && table !== null && Object.keys(table).length > 0)
    .map(([name, table]) => {
      const hosts = Object.keys(table as object).slice(0, 5)
      return `${file}: ${name} (${hosts.join(', ')}) excludes config_path: write them as hosts.toml below /${places.hosts}, and remove them here`
    })
}

/** The files that the original's preflight finds: its containerd merges them over the configuration. */
async function customFiles(root: string): Promise<string[]> {
  const folders = ['conf.d', 'conf2.d'].map(name => join(places.containerd, name))
  const found: string[] = []
  for (const folder of folders) {
    const names = (await readdir(join(root, folder)).catch(() => [])).filter(name => name.endsWith('.toml')).sort()
    for (const name of names) {
      const state = await readState(join(root, folder, name))
      if (state?.kind === 'file' && hasRegistry(Buffer.from(state.text, 'latin1').toString('utf8'))) found.push(`/${folder}/${name}`)
    }
  }
  return found.map(file => `Failed to merge ${file}: it contains custom registry fields, configure them in /${places.hosts} instead`)
}

function hasRegistry(text: string): boolean {
  try {
    const { config_path: _, ...custom } = registryTable(parse(text)) ?? {}
    return Object.values(custom).some(value => typeof value === 'object' && value !== null && Object.keys(value).length > 0)
  } catch {
    // containerd would not start with it, or does not read it.
    return false
  }
}

async function otherOwners(root: string): Promise<string[]> {
  const found: string[] = []
  for (const [name, file] of [
    ['k3s', 'var/lib/rancher/k3s/agent/etc/containerd/config.toml'],
    ['RKE2', 'var/lib/rancher/rke2/agent/etc/containerd/config.toml']
  ] as const) {
    if (await exists(join(root, file)))
      found.push(
        `containerd belongs to ${name} here (/${file}), which writes its files itself: configure /etc/rancher instead (registries.yaml)`
      )
  }
  return found
}

// Like PATH, since containerd 2.2.
function firstPath(value: unknown): string | undefined {
  const first = typeof value === 'string' ? value.split(':').find(Boolean) : undefined
  return first?.startsWith('/') ? first : undefined
}
