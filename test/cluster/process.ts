import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'

/** A program behind a command that makes or enters namespaces for it (`unshare --fork`, `nsenter --pid`) and waits for its end. */
export class Process {
  /** The process of the program, as this process sees it. */
  readonly child: number
  readonly #command: ChildProcess
  readonly #ended: Promise<number>
  readonly #log: string

  private constructor(child: number, command: ChildProcess, ended: Promise<number>, log: string) {
    this.child = child
    this.#command = command
    this.#ended = ended
    this.#log = log
  }

  /** Starts it with its output appended to a file; rejects with that output where it ends before it has begun. */
  static async start(
    command: string,
    args: readonly string[],
    log: string,
    environment: Readonly<Record<string, string>> = {}
  ): Promise<Process> {
    const file = await open(log, 'a')
    // A test that is killed takes along what it has started.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', file.fd, file.fd]
    })
    const ended: Promise<number> = once(child, 'exit').then(([code]) => code ?? -1)
    ended.catch(() => undefined)
    await once(child, 'spawn')
    await file.close()
    const of = child.pid ?? -1
    for (;;) {
      const first = Number((await readFile(`/proc/${of}/task/${of}/children`, 'utf8').catch(() => '')).split(' ')[0])
      if (first > 0) {
        // What a failed test has left running must not keep it from ending.
        child.unref()
        return new Process(first, child, ended, log)
      }
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`${command} ${args.join(' ')} did not start:\n${await readFile(log, 'utf8')}`)
      }
      await new Promise(setImmediate)
    }
  }

  /** Resolves when it has ended, to its exit code; -1 where a signal ended it. */
  async end(): Promise<number> {
    this.#command.ref()
    return await this.#ended
  }

  /** What it has written, with that of its predecessors of the same name. */
  async log(): Promise<string> {
    return await readFile(this.#log, 'utf8')
  }

  /** What `waited` resolves to; rejects with the log where the program ends before. */
  async while<T>(waited: Promise<T>): Promise<T> {
    const gone = this.#ended.then(async code => {
      throw new Error(`it ended with exit code ${code}:\n${(await this.log()).slice(-8_000)}`)
    })
    gone.catch(() => undefined)
    return await Promise.race([waited, gone])
  }

  /** Sends a signal, and waits for the end where it is one that ends. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number> {
    process.kill(this.child, signal)
    return await this.end()
  }
}
