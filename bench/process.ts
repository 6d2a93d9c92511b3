import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** A server that runs beside the benchmark. */
export interface Process {
  readonly pid: number
  /** From its start to the first probe that it answered. */
  readonly startSeconds: number
  /** Asks it to end, and insists after ten seconds. */
  stop(): Promise<void>
}

/** How a process is started; what it writes goes to the file `log`, so that nobody has to read a pipe meanwhile. */
export interface ProcessOptions {
  command: string
  args: readonly string[]
  env?: Readonly<Record<string, string | undefined>>
  log: string
  /** Resolves once the process answers; it is asked again while it rejects. */
  probe: () => Promise<void>
}

const startLimit = 30_000
const stopLimit = 10_000
const probeEvery = 2

/** Starts a process and resolves once its probe does; rejects with the end of its log when that does not happen. */
export async function startProcess({ command, args, env = {}, log, probe }: ProcessOptions): Promise<Process> {
  const output = openSync(log, 'w')
  const began = performance.now()
  // Proxies and Node options of whoever runs the benchmark are no part of it.
  const clean = { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env }
  const child = spawn(command, args, { env: clean, stdio: ['ignore', output, output] })
  closeSync(output)
  const ended = new Promise<string>(resolve => {
    child.once('error', error => resolve(error.message))
    child.once('close', (code, signal) => resolve(`it ended with ${signal ?? `exit code ${code}`}`))
  })
  const reap = () => child.kill('SIGTERM')
  process.once('exit', reap)
  const stop = async () => {
    process.removeListener('exit', reap)
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), stopLimit)
    await ended
    clearTimeout(timer)
  }
  try {
    await answering(probe, ended)
  } catch (cause) {
    await stop()
    throw new Error(`${command} ${args.join(' ')} did not start:\n${(await readFile(log, 'utf8')).slice(-2000)}`, { cause })
  }
  return { pid: child.pid ?? -1, startSeconds: (performance.now() - began) / 1000, stop }
}

async function answering(probe: () => Promise<void>, ended: Promise<string>): Promise<void> {
  const deadline = Date.now() + startLimit
  const gone = ended.then(reason => Promise.reject(new Error(reason)))
  gone.catch(() => {})
  for (;;) {
    try {
      await Promise.race([probe(), gone])
      return
    } catch (cause) {
      if (Date.now() > deadline) throw new Error('it does not answer', { cause })
      await Promise.race([sleep(probeEvery), gone])
    }
  }
}
