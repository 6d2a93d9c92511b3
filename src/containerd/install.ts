import { join } from 'node:path'
import { exists } from '../install/files.ts'
import * as owned from '../install/install.ts'
import type { OwnedDirectory } from '../install/owned.ts'
import type { InstallPlan } from '../install/plan.ts'
import { checkRegistryHost, hostsFile } from './hosts.ts'

/** `root` is containerd's `config_path`; `only: 'plan'` changes nothing. */
export type HostsInstallOptions = Pick<owned.InstallOptions, 'root' | 'only'>

/** The plan of an install of hosts files. */
export interface HostsPlan extends InstallPlan {
  /** Reasons why containerd will not read what is written. */
  warnings: readonly string[]
}

/** The parts of InstallOptions that are the same for every install of hosts files. */
export const containerdFiles = {
  // containerd fails every pull through a hosts.toml whose CA file is absent.
  refersToOthers: (file: string) => file === hostsFile,
  accessHint: "containerd's files belong to root, run this as root"
}

/** Installs the directories of registry hosts as owned files below containerd's `config_path`. */
export async function install(directories: readonly OwnedDirectory[], options: HostsInstallOptions): Promise<HostsPlan> {
  for (const { name } of directories) checkRegistryHost('directory', name)
  const plan = await owned.install(directories, { ...options, ...containerdFiles })
  return { ...plan, warnings: await shadowWarnings(plan.root, directories) }
}

/** Gives back what was in `config_path` before the first install. */
export async function restore(options: HostsInstallOptions): Promise<HostsPlan> {
  return { ...(await owned.restore({ ...options, ...containerdFiles })), warnings: [] }
}

// containerd reads `host_port_` before `host:port`.
async function shadowWarnings(root: string, directories: readonly OwnedDirectory[]): Promise<string[]> {
  const warnings: string[] = []
  for (const { name } of directories) {
    const colon = name.lastIndexOf(':')
    if (colon === -1) continue
    const other = join(root, `${name.slice(0, colon)}_${name.slice(colon + 1)}_`)
    if (await exists(other)) warnings.push(`${other} is there: containerd reads it in place of ${join(root, name)}`)
  }
  return warnings
}
