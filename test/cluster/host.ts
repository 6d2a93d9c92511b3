import { access, chown, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import type { RunOptions } from '../e2e/command.ts'
import { must } from '../e2e/command.ts'
import { temporaryFolder } from '../e2e/place.ts'
import { until } from '../src/support.ts'
import { layBridge, plugIn, setCable, subnet } from './network.ts'
import { Process } from './process.ts'

const cgroups = '/sys/fs/cgroup'
const cgroupOfRun = process.env['REGISTRY_TEST_CGROUP'] ?? '/registry-cluster'

/** Where a host is on the network and what it is called. */
export interface HostOptions {
  name: string
  /** The last part of its address. */
  number: number
}

/**
 * A machine of its own to what runs on it: network, processes, mounts, host name; /etc, /var and /opt are copies on write
 * of this machine's, /run is empty after each boot. It ends with the test.
 */
export class Host {
  readonly name: string
  readonly address: string
  /** The cgroup that its pods are below, as the kubelet's `cgroupRoot`. */
  readonly cgroup: string
  readonly #disk: string
  #init: Process | undefined
  #processes = new Map<string, Process>()

  private constructor(disk: string, { name, number }: HostOptions) {
    this.name = name
    this.address = `${subnet}.${number}`
    this.cgroup = join(cgroupOfRun, name)
    this.#disk = disk
  }

  /** Boots a new host with an empty disk. */
  static async start(t: Test, options: HostOptions): Promise<Host> {
    await layBridge()
    const disk = await temporaryFolder(t)
    const host = new Host(disk, options)
    await makeCgroup(host.cgroup)
    t.teardown(() => host.powerOff())
    await host.powerOn()
    return host
  }

  /** Boots it, with what its disk holds. */
  async powerOn(): Promise<void> {
    const namespaces = ['--mount', '--net', '--uts', '--ipc', '--pid', '--fork', '--kill-child', '--propagation', 'private']
    const boot = join(import.meta.dirname, 'boot')
    const init = await Process.start('unshare', [...namespaces, boot, this.name, this.address, this.#disk], join(this.#disk, 'boot.log'))
    this.#init = init
    await init.while(until(() => exists(this.path('/run/booted'))))
    await plugIn(this.name, init.child, this.address)
  }

  /** Cuts its power: everything on it is killed at once, and what was not on the disk is lost. */
  async powerOff(): Promise<void> {
    const init = this.#init
    if (init === undefined) return
    this.#init = undefined
    // With it ends the whole namespace of processes.
    process.kill(init.child, 'SIGKILL')
    await Promise.all([init, ...this.#processes.values()].map(each => each.end()))
    this.#processes.clear()
  }

  /** Pulls its network cable. */
  async cutOff(): Promise<void> {
    await setCable(this.name, 'down')
  }

  /** Puts its network cable back. */
  async reconnect(): Promise<void> {
    await setCable(this.name, 'up')
  }

  /** A path of the host, as this process reaches it while the host is on. */
  path(path: string): string {
    return join('/proc', String(this.#on.child), 'root', path)
  }

  /** Writes a file of the host through a rename, as what watches the folder wants it. */
  async write(path: string, content: string, { mode = 0o644, owner = 0 } = {}): Promise<void> {
    const target = this.path(path)
    const folder = dirname(target)
    await mkdir(folder, { recursive: true })
    const temporary = join(folder, `.${Math.random().toString(36).slice(2)}`)
    await writeFile(temporary, content, { mode })
    await chown(temporary, owner, owner)
    await rename(temporary, target)
  }

  /** Runs a command on the host to its end and answers what it wrote to stdout; throws with all of its output if it fails. */
  async run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    return await must('nsenter', [...this.#inside, command, ...args], options)
  }

  /** Starts a daemon on the host; it ends with the host, if not before. Its output goes on in `<name>.log`. */
  async start(
    name: string,
    command: string,
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {}
  ): Promise<Process> {
    const log = join(this.#disk, `${name}.log`)
    const started = await Process.start('nsenter', [...this.#inside, command, ...args], log, environment)
    this.#processes.set(name, started)
    return started
  }

  get #on(): Process {
    if (this.#init === undefined) throw new Error(`host ${this.name} is off`)
    return this.#init
  }

  get #inside(): readonly string[] {
    return ['--target', String(this.#on.child), '--mount', '--uts', '--ipc', '--net', '--pid', '--']
  }
}

/** Makes a cgroup in each hierarchy (cgroup v1), which `run` removes. */
async function makeCgroup(path: string): Promise<void> {
  const hierarchies = (await readdir(cgroups)).filter(name => name !== 'unified')
  for (const hierarchy of hierarchies) {
    let parent = join(cgroups, hierarchy)
    for (const part of path.split('/').filter(Boolean)) {
      const folder = join(parent, part)
      await mkdir(folder, { recursive: true })
      // A new one has no processors and no memory to give.
      const inherited = hierarchy === 'cpuset' ? ['cpuset.cpus', 'cpuset.mems'] : []
      for (const file of inherited) await writeFile(join(folder, file), await readFile(join(parent, file)))
      parent = folder
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false
  )
}
