import { join } from 'node:path'
import { run } from '../../test/e2e/command.ts'
import { isPresent } from '../../test/e2e/tool.ts'
import { distribution } from './distribution.ts'
import { nginx } from './nginx.ts'
import { before, ours } from './ours.ts'
import type { Kind } from './server.ts'

/** What this machine has, and why it has not the rest. */
export interface Present {
  kinds: readonly Kind[]
  /** Version by name, of servers and tools. */
  versions: Readonly<Record<string, string>>
  missing: readonly string[]
}

const build = join(import.meta.dirname, '../../test/tools/build')
const buildLimit = 900_000

/** Looks for the peers and the tools; with the script of another build that one is the only peer. */
export async function findPresent(script?: string): Promise<Present> {
  const missing: string[] = []
  const kinds: Kind[] = [ours]
  const versions: Record<string, string> = { ours: ours.version }
  const found = (name: string, version: string) => {
    versions[name] = version
    return version
  }
  const ask = async (command: string, ...args: string[]) => {
    if (!isPresent(command)) return void missing.push(`${command} (Debian package ${command === 'ctr' ? 'containerd' : command})`)
    const { stdout, stderr } = await run(command, args)
    return found(command, /\d+\.\d+[.\d]*/.exec(stdout + stderr)?.[0] ?? 'unknown')
  }
  const debian = await ask('docker-registry', '--version')
  if (debian !== undefined) kinds.push(distribution('docker-registry', 'docker-registry', debian))
  const { code, stdout } = await run('bash', [build, 'distribution3'], { limit: buildLimit })
  if (code === 0) {
    const command = join(stdout.trim(), 'distribution3')
    kinds.push(distribution('distribution3', command, found('distribution3', /-v(\S+)/.exec(stdout)?.[1] ?? 'unknown')))
  } else missing.push(`distribution3 (${code === 3 ? 'no Go to build it' : 'it could not be built'})`)
  // Its module is refused by the public module proxy, and a build from anywhere else could not be pinned in the same way.
  missing.push('zot (the Go module proxy does not serve it)')
  const web = await ask('nginx', '-v')
  if (web !== undefined) kinds.push(nginx(web))
  for (const [tool, flag] of [
    ['wrk', '-v'],
    ['etcd', '--version'],
    ['ctr', '--version'],
    ['curl', '--version'],
    ['skopeo', '--version']
  ] as const)
    await ask(tool, flag)
  return { kinds: script === undefined ? kinds : [ours, before(script)], versions, missing }
}
