import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../../telemetry/log.ts'
import type { Registry } from '../server.ts'

const failed = 1

/** What `serve`, `agent` and `controller` run. */
type Stoppable = Pick<Registry, 'reload' | 'stop'> & { readonly hanging?: boolean }

/**
 * Runs a command's server, once it has started, until SIGTERM or SIGINT, and reloads it on SIGHUP. Rejects if it does
 * not start; `fail` ends the process if it does not stop.
 */
export async function runUntilSignal(starting: Promise<Stoppable>, log: Logger, fail: (error: unknown) => void): Promise<void> {
  // By default the signal ends the process, and the ports answer a moment before all has started.
  process.on(
    'SIGHUP',
    () =>
      void starting.then(
        server => server.reload(),
        () => {}
      )
  )
  const server = await starting
  let stopping = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(failed)
      stopping = true
      server.stop().then(async () => {
        await written(log)
        if (await returned(server)) process.exit(0)
        die()
      }, fail)
    })
  }
  // A bug. The storage survives kill -9 at any moment, so a restart of the static pod is safest.
  process.on('uncaughtException', error => {
    log.fatal({ err: error }, 'the process cannot go on')
    process.exit(failed)
  })
}

// So that the last line is the last one: a write of former lines may be under way. A reader may have stalled for good.
async function written(log: Logger): Promise<void> {
  const { outputOf } = await import('../../telemetry/log.ts')
  await Promise.race([
    outputOf(log)
      .flush?.()
      .catch(() => {}),
    delay(pollIntervalMs * maxPolls)
  ])
}

// Files may still be being closed.
async function returned(registry: Stoppable): Promise<boolean> {
  for (let polls = 0; registry.hanging && polls < maxPolls; polls++) await delay(pollIntervalMs)
  return !registry.hanging
}

const maxPolls = 30
const pollIntervalMs = 100

/** Ends the process at once: an orderly exit waits for all threads, and one hangs in a call to the disk. */
export function die(): void {
  process.emit('exit', failed)
  process.kill(process.pid, 'SIGKILL')
}
