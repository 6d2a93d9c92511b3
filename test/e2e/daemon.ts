import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

/** A process that runs beside a test. */
export interface Daemon {
  readonly pid: number
  /** What it has written so far, stdout and stderr together. */
  log(): string
  /** Asks it to end, insists after ten seconds, and answers its exit code (-1 where a signal ended it). */
  stop(): Promise<number>
}

/** How a daemon is started: its command, and the probe that tells that it can be used. */
export interface DaemonOptions {
  command: string
  args: readonly string[]
  env?: Readonly<Record<string, string>>
  /** Resolves once the daemon answers; it is asked again while it rejects. */
  probe: () => Promise<void>
  /** Milliseconds until it has to answer; half a minute where nothing is said. */
  limit?: number
}

const startLimit = 30_000
const stopLimit = 10_000

/** Starts a process and resolves once its probe does; throws with its log if it ends before, or does not answer in time. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const child = spawn(options.command, options.args, { env: { ...process.env, ...options.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const written: string[] = []
  child.stdout.on('data', (chunk: Buffer) => written.push(chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => written.push(chunk.toString()))
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? -1))
  })
  ended.catch(() => undefined)
  // A test file that is aborted must not leave its servers behind.
  const reap = () => child.kill('SIGKILL')
  process.once('exit', reap)
  const stop = async () => {
    process.removeListener('exit', reap)
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), stopLimit)
    const code = await ended
    clearTimeout(timer)
    return code
  }
  if (child.pid === undefined) await once(child, 'spawn')
  try {
    await answering(options, ended)
  } catch (cause) {
    await stop()
    throw new Error(`${options.command} ${options.args.join(' ')} did not start:\n${written.join('')}`, { cause })
  }
  return { pid: child.pid ?? -1, log: () => written.join(''), stop }
}

async function answering({ probe, limit = startLimit }: DaemonOptions, ended: Promise<number>): Promise<void> {
  const deadline = Date.now() + limit
  const gone = ended.then(code => {
    throw new Error(`it ended with exit code ${code}`)
  })
  gone.catch(() => undefined)
  for (;;) {
    try {
      await Promise.race([probe(), gone])
      return
    } catch (cause) {
      if (Date.now() > deadline) throw new Error('it does not answer', { cause })
      await Promise.race([sleep(100), gone])
    }
  }
}
