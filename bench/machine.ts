import { cpus, release, totalmem } from 'node:os'
import { GIB } from './bench.ts'
import type { Options } from './options.ts'
import type { Present } from './servers/present.ts'

/** Where and when it was measured. */
export interface Machine {
  /** Day in UTC. */
  date: string
  cpu: string
  cores: number
  memoryGiB: number
  kernel: string
  rounds: number
  size: Options['size']
  versions: Readonly<Record<string, string>>
}

/** Looks at the machine. */
export async function describeMachine({ versions }: Present, { rounds, size }: Options): Promise<Machine> {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / GIB),
    kernel: release(),
    rounds,
    size,
    versions
  }
}
