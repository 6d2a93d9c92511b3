import { must, run } from '../e2e/command.ts'

/** Addresses of hosts: `subnet` and a number. The network ends at the bridge, so nothing leaves the machine. */
export const subnet = '10.213.0'

/** Where the test itself, and the control plane, are to be reached by hosts. */
export const testAddress = `${subnet}.1`

const bridge = 'registry0'

let laid: Promise<void> | undefined

/** Lays the bridge that hosts are plugged into, in the network namespace of this run, where it is not there already. */
export async function layBridge(): Promise<void> {
  laid ??= layOnce()
  await laid
}

// Test files before this one have laid it for all.
async function layOnce(): Promise<void> {
  if ((await run('ip', ['link', 'show', bridge])).code === 0) return
  await must('ip', ['link', 'add', bridge, 'type', 'bridge'])
  await must('ip', ['address', 'add', `${testAddress}/24`, 'dev', bridge])
  await must('ip', ['link', 'set', bridge, 'up'])
}

/** Plugs the network namespace of a process into the bridge, with an address, as its `eth0`. */
export async function plugIn(name: string, pid: number, address: string): Promise<void> {
  const cable = cableOf(name)
  const inside = (...args: readonly string[]) => must('nsenter', ['--net', '--target', String(pid), 'ip', ...args])
  // The kernel takes its time to remove that of a host that was killed.
  await run('ip', ['link', 'delete', cable])
  await must('ip', ['link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)])
  await must('ip', ['link', 'set', cable, 'master', bridge, 'up'])
  await inside('address', 'add', `${address}/24`, 'dev', 'eth0')
  await inside('link', 'set', 'lo', 'up')
  await inside('link', 'set', 'eth0', 'up')
  // A kubelet asks for the route to the world; it ends at the bridge.
  await inside('route', 'add', 'default', 'via', testAddress)
}

/** Pulls the cable of a host, or puts it back: what is sent meanwhile is lost, as behind a dead switch. */
export async function setCable(name: string, state: 'up' | 'down'): Promise<void> {
  await must('ip', ['link', 'set', cableOf(name), state])
}

// Names of interfaces have at most 15 bytes.
const cableOf = (name: string): string => `to-${name}`.slice(0, 15)
