import { execFile } from 'node:child_process'

/** What a command printed. */
export interface Printed {
  stdout: string
  stderr: string
}

/** A command that could not be started, or ended with an error; the message says which, and what it printed last. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed'
  /** `ENOENT` where there is no such command. */
  readonly code: string | undefined

  constructor(command: string, cause: Error & { code?: unknown; killed?: boolean | undefined }, stderr: string) {
    const last = stderr.trim().split('\n').at(-1)?.slice(0, 500)
    const reason = cause.code === 'ENOENT' ? 'no such command' : cause.killed ? 'took too long' : last || cause.message
    super(`${command}: ${reason}`, { cause })
    this.code = cause.code === 'ENOENT' ? 'ENOENT' : undefined
  }
}

const maxOutputBytes = 16 * 1_048_576

/** Runs a command without a shell; rejects with `CommandFailed`. */
export function runCommand(file: string, args: readonly string[], timeoutMs: number): Promise<Printed> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: maxOutputBytes }, (error, stdout, stderr) => {
      if (error) reject(new CommandFailed([file, ...args].join(' '), error, stderr))
      else resolve({ stdout, stderr })
    })
  })
}
