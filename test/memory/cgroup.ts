import { access, mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A memory cgroup for one process. */
export interface Cgroup {
  /** The start of a command that runs the rest of it inside. */
  readonly through: readonly string[]
  /** How many processes the kernel killed in it for want of memory. */
  kills(): Promise<number>
  /** The most bytes that were charged to it; page cache counts too, and is given back under pressure. */
  peak(): Promise<number>
  remove(): Promise<void>
}

const top = '/sys/fs/cgroup'
// The controller as the kernel shows it: version 2 in one tree, version 1 in a tree of its own.
const versions = [
  { parent: top, limit: 'memory.max', swap: 'memory.swap.max', peak: 'memory.peak', events: 'memory.events' },
  {
    parent: join(top, 'memory'),
    limit: 'memory.limit_in_bytes',
    swap: 'memory.memsw.limit_in_bytes',
    peak: 'memory.max_usage_in_bytes',
    events: 'memory.oom_control'
  }
]

/** A new cgroup with a limit in bytes, or the reason why there can be none. */
export async function createCgroup(limit: number): Promise<Cgroup | string> {
  const reasons: string[] = []
  for (const version of versions) {
    const folder = join(version.parent, `registry-test-${process.pid}`)
    try {
      await mkdir(folder)
    } catch (error) {
      reasons.push((error as Error).message)
      continue
    }
    try {
      await access(join(folder, version.limit))
      await writeFile(join(folder, version.limit), String(limit))
      // Without swap the limit means what it says; version 1 counts memory and swap together.
      await writeFile(join(folder, version.swap), version.swap.includes('memsw') ? String(limit) : '0').catch(() => {})
      return describe(folder, version)
    } catch (error) {
      reasons.push((error as Error).message)
      await rmdir(folder)
    }
  }
  return `no memory cgroup can be made: ${reasons.join('; ')}`
}

function describe(folder: string, { peak, events }: { peak: string; events: string }): Cgroup {
  const read = async (file: string) => (await readFile(join(folder, file), 'utf8')).trim()
  return {
    through: ['sh', '-c', `echo $$ >${join(folder, 'cgroup.procs')} && exec "$@"`, 'sh'],
    kills: async () => Number(/^oom_kill (\d+)$/m.exec(await read(events))?.[1]),
    peak: async () => Number(await read(peak)),
    remove: async () => {
      // A process that was just killed may still be counted for a moment.
      for (let attempt = 0; ; attempt++) {
        try {
          return await rmdir(folder)
        } catch (error) {
          if (attempt === 50) throw error
          await sleep(100)
        }
      }
    }
  }
}
