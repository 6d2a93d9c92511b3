import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import pkg from '../../package.json' with { type: 'json' }

/** A registry in a process of its own. */
export interface Server {
  /** Of the registry itself, whatever it was started through. */
  readonly pid: number
  /** `127.0.0.1:<port>` */
  readonly address: string
  readonly admin: string
  readonly root: string
  /** Resolves to its exit code, or -1 after a signal. */
  readonly ended: Promise<number>
  /** The end of what it wrote. */
  log(): string
  /** Writes its file anew with these sections in place of those it has, and sends SIGHUP. */
  change(sections: Sections): Promise<void>
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves to its exit code. */
  stop(): Promise<number>
}

/** Sections of the configuration file, as they stand there. */
export type Sections = Readonly<Record<string, Readonly<Record<string, unknown>>>>

/** How a registry is started. */
export interface ServerOptions {
  /** The folder that holds the root; it exists. */
  folder: string
  /** The start of a command that runs the rest of it, such as strace with its options. */
  through?: readonly string[]
  /** Options of Node, before the script; those of `npm start` if there are none. */
  node?: readonly string[]
  /** What Node runs; REGISTRY_TEST_SCRIPT names another, such as the compiled registry. */
  script?: string
  /** Further settings of the section `server`. */
  server?: Record<string, unknown>
  /** Further sections; the mode is Local where there is no `registry`. */
  sections?: Sections
  env?: Readonly<Record<string, string>>
}

// What is measured is what `npm start` runs, with its environment.
/** The environment that `npm start` sets. */
export const startEnvironment: Readonly<Record<string, string | undefined>> = Object.fromEntries(
  [...pkg.scripts.start.matchAll(/(\w+)=(\S+) (?=.*\bnode )/g)].map(([, name, value]) => [name, value])
)
/** The options of Node in `npm start`. */
export const startFlags: readonly string[] =
  /\bnode ((?:--\S+ )*)src\/main\.ts/.exec(pkg.scripts.start)?.[1]?.trim().split(' ').filter(Boolean) ?? []

const startLimit = 60_000
const logKept = 64 * 1024

/** A new folder that is removed when the test ends. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'registry-long-'))
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** Starts a registry on `<folder>/root`, or where the section `storage` says; resolves when it says that it is ready. It dies with the test. */
export async function startServer(t: Test, options: ServerOptions): Promise<Server> {
  const { folder, through = [], node = startFlags, script = process.env['REGISTRY_TEST_SCRIPT'] || 'src/main.ts', env = {} } = options
  const root = join(folder, 'root')
  const file = join(folder, 'registry.yaml')
  const write = (sections: Sections) => writeFile(file, settings(root, options.server, { ...options.sections, ...sections }))
  await write({})
  const [command = '', ...args] = [...through, process.execPath, ...node, script, 'serve', '--config', file]
  const child = spawn(command, args, {
    env: { ...process.env, NODE_OPTIONS: '', ...startEnvironment, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const written = gather(child)
  const ended = new Promise<number>(resolve => child.once('close', code => resolve(code ?? -1)))
  let pid = 0
  // A tracer that is killed lets go of what it traced.
  const reap = () => {
    child.kill('SIGKILL')
    if (pid !== 0 && pid !== child.pid) process.kill(pid, 'SIGKILL')
  }
  process.once('exit', reap)
  void ended.then(() => process.removeListener('exit', reap))
  const { listen, admin } = await ready(child, written)
  // The registry notes whose the root is, which is the right pid behind a tracer, too. A bucket is nobody's.
  pid = options.sections?.['storage']?.['s3']
    ? (child.pid ?? 0)
    : Number(/pid (\d+)/.exec(await readFile(join(root, '.registry/owner'), 'utf8'))?.[1])
  const signal = async (name: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) process.kill(pid, name)
    return await ended
  }
  const kill = async () => void (await signal('SIGKILL'))
  const change = async (sections: Sections) => {
    await write(sections)
    process.kill(pid, 'SIGHUP')
  }
  t.teardown(kill)
  return { pid, address: listen, admin, root, ended, log: written.text, change, kill, stop: () => signal('SIGTERM') }
}

function settings(root: string, server: Record<string, unknown> | undefined, sections: Sections): string {
  return stringify({
    registry: { mode: 'Local' },
    server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0', ...server },
    storage: { filesystem: { root }, reserve: 0, inodeReserve: 0 },
    auth: { anonymous: ['pull', 'push', 'delete'] },
    ...sections
  })
}

interface Written {
  text(): string
  onText(listener: () => void): void
}

function gather(child: ChildProcess): Written {
  let text = ''
  const listeners: (() => void)[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-logKept)
      for (const listener of listeners) listener()
    })
  }
  return { text: () => text, onText: listener => void listeners.push(listener) }
}

function ready(child: ChildProcess, written: Written): Promise<{ listen: string; admin: string }> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      child.kill('SIGKILL')
      reject(new Error(`the registry did not start: ${reason}\n${written.text()}`))
    }
    const timer = setTimeout(fail, startLimit, 'it is not ready in time')
    let done = false
    written.onText(() => {
      const line = done
        ? undefined
        : written
            .text()
            .split('\n')
            .find(each => each.includes('"the registry is ready"') && each.endsWith('}'))
      if (line === undefined) return
      done = true
      clearTimeout(timer)
      resolve(JSON.parse(line))
    })
    child.once('close', code => {
      clearTimeout(timer)
      fail(`it ended with exit code ${code}`)
    })
    child.once('error', error => fail(error.message))
  })
}
