import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createMutex } from '../../storage/keyed-mutex.ts'

/** Paths by what they are for. */
export type Paths<F> = { [K in keyof F]?: string }

/** The content of each file, by the same names. */
export type Contents<F> = { [K in keyof F]: Buffer }

/** A value loaded from files that are polled. */
export interface FileWatch<V> {
  /** The value of the newest valid content. */
  readonly value: V
  /** Polls once, now. A change takes effect at the second poll that finds it. */
  check(): Promise<void>
  /** Stops polling; the value stays. */
  stop(): void
}

/** Which files to poll, and how to load them. */
export interface WatchOptions<F extends Paths<F>, V> {
  files: F
  intervalMs: number
  /** Parses the content. Throws if it is invalid; the previous value stays then. */
  load: (contents: Contents<F>, previous: V | undefined) => V
  /** Called with every value but the first. */
  onChange: (value: V) => void
  /** Called once per invalid content, and per new reason why a file cannot be read. */
  onFault: (fault: unknown) => void
}

// Passwords and certificates are kilobytes; a path to something large is a mistake that must not fill the memory.
const maxFileBytes = 4 * 1024 * 1024

/**
 * Loads a value from files, and again whenever their content has changed; rejects if the first load fails.
 * Compares content, since file system notifications get lost when Kubernetes swaps symbolic links.
 */
export async function watchFiles<F extends Paths<F>, V>(options: WatchOptions<F, V>): Promise<FileWatch<V>> {
  const { files, intervalMs, load, onChange, onFault } = options
  const first = await readAll(files)
  let value = load(first.contents, undefined)
  let current = first.fingerprint
  let candidate = current
  let unreadable: string | undefined
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  const mutex = createMutex()

  async function poll(): Promise<void> {
    const found = await readAll(files).catch(reportUnreadable)
    if (stopped || !found) return
    unreadable = undefined
    // A file being written, or a pair with one old half, is different at the next poll.
    const stable = found.fingerprint === candidate
    candidate = found.fingerprint
    if (!stable || found.fingerprint === current) return
    current = found.fingerprint
    value = load(found.contents, value)
    onChange(value)
  }

  function reportUnreadable(fault: unknown): undefined {
    const reason = String(fault)
    if (!stopped && reason !== unreadable) onFault(fault)
    unreadable = reason
  }

  function check(): Promise<void> {
    return mutex(poll).catch(onFault)
  }

  function schedule(): void {
    if (stopped) return
    timer = setTimeout(() => void check().then(schedule), intervalMs).unref()
  }

  schedule()
  return {
    get value() {
      return value
    },
    check,
    stop() {
      stopped = true
      clearTimeout(timer)
    }
  }
}

async function readAll<F extends Paths<F>>(files: F): Promise<{ contents: Contents<F>; fingerprint: string }> {
  const paths = Object.entries<string | undefined>(files).filter((entry): entry is [string, string] => entry[1] !== undefined)
  const read = await Promise.all(paths.map(async ([name, path]) => [name, await readSmall(path)] as const))
  const digests = read.map(([, bytes]) => createHash('sha256').update(bytes).digest('hex'))
  return { contents: Object.fromEntries(read) as Contents<F>, fingerprint: digests.join() }
}

async function readSmall(path: string): Promise<Buffer> {
  const found = await stat(path)
  // Opening a named pipe would block for ever.
  if (!found.isFile()) throw new Error(`${path} is not a file`)
  if (found.size > maxFileBytes) throw new Error(`${path} has ${found.size} bytes, more than ${maxFileBytes}`)
  return await readFile(path)
}
