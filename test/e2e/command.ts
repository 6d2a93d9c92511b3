import { spawn } from 'node:child_process'

/** What a finished command left behind; `code` is -1 where a signal ended it. */
export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

/** Settings of one run: where, with which environment on top of ours, and what it is killed by: so many milliseconds, or a signal. */
export interface RunOptions {
  cwd?: string
  env?: Readonly<Record<string, string>>
  limit?: number
  signal?: AbortSignal
}

/** Runs a command to its end and keeps what it wrote; rejects only where it cannot be started. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.limit ?? 120_000,
    killSignal: 'SIGKILL',
    ...(options.signal ? { signal: options.signal } : {})
  })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? -1))
  })
  return { code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }
}

/** Runs a command that has to succeed and answers what it wrote to stdout; throws with all of its output otherwise. */
export async function must(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const outcome = await run(command, args, options)
  if (outcome.code !== 0) {
    throw new Error(`${command} ${args.join(' ')}: exit code ${outcome.code}\n${outcome.stdout}${outcome.stderr}`)
  }
  return outcome.stdout
}
