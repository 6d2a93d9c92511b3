import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'

const mark = 'REGISTRY_TEST_NETWORK'

/** Why packets cannot be dropped here; undefined where they can, because this process has a network of its own. */
export const noCutting: string | undefined = process.env[mark] === 'own' ? undefined : 'network namespaces need root, unshare and iptables'

/**
 * Runs the tests that `load` brings, in a network of their own where that is possible: nothing that a test does there
 * reaches the machine, and it is gone with its last process. `file` is the test file, which is started once more for it.
 */
export async function inOwnNetwork(file: string, load: () => Promise<unknown>): Promise<void> {
  if (process.env[mark] === 'own') {
    execFileSync('ip', ['link', 'set', 'lo', 'up'])
    return void (await load())
  }
  if (!canUnshare()) return void (await load())
  const args = ['--net', '--kill-child', process.execPath, ...process.execArgv, file]
  const child = spawn('unshare', args, { env: { ...process.env, [mark]: 'own' }, stdio: 'inherit' })
  const end = () => child.kill('SIGKILL')
  process.once('exit', end)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1))
  const [code] = await once(child, 'exit')
  process.exitCode = code ?? 1
}

/** Drops each packet from and to an IPv4 address from now on, as a pulled cable would. */
export function cutOff(address: string): void {
  for (const rule of rulesOf(address)) iptables('-A', rule)
}

/** Ends `cutOff`. */
export function reconnect(address: string): void {
  for (const rule of rulesOf(address)) iptables('-D', rule)
}

function rulesOf(address: string): string[][] {
  return [
    ['INPUT', '-s', address, '-j', 'DROP'],
    ['INPUT', '-d', address, '-j', 'DROP']
  ]
}

function iptables(action: '-A' | '-D', rule: readonly string[]): void {
  if (noCutting !== undefined) throw new Error(noCutting)
  execFileSync('iptables', ['-w', action, ...rule], { stdio: 'pipe' })
}

function canUnshare(): boolean {
  try {
    execFileSync('unshare', ['--net', 'sh', '-c', 'ip link set lo up && iptables -w -L INPUT'], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}
