import { readFileSync } from 'node:fs'
import { cpuOf, ticksPerSecond } from './usage.ts'

/** Watches what everything but the benchmark takes of the processors: on a shared machine it decides what a figure is worth. */
export class Others {
  #last = look()

  /** Cores that were taken by others since the last time. */
  lap(): number {
    const [before, now] = [this.#last, look()]
    this.#last = now
    return Math.max(0, (now.busy - now.own - (before.busy - before.own)) / (now.at - before.at))
  }
}

const kernelThreads = 2

function look(): { at: number; busy: number; own: number } {
  // user, nice, system, idle, iowait, irq, softirq, steal: what is waited for and what packets cost counts for nobody.
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] =
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/\s+/).slice(1).map(Number) ?? []
  return {
    at: performance.now() / 1000,
    busy: (user + nice + system + steal) / ticksPerSecond,
    own: cpuOf(process.pid) + cpuOf(kernelThreads)
  }
}
