import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createMutex } from '../../storage/keyed-mutex.ts'

/** Paths by what they are for. */
export type Paths<F> = { [K in keyof F]?: string }

/** The bytes of each file, under the name that its path was given under. */
export type Contents<F> = { [K in keyof F]: Buffer }

/** A value made from files that are looked at again and again. */
export interface FileWatch<V> {
  /** What was made of the newest content that could be used. */
  readonly value: V
  /** Looks once, now; a change is taken at the second look that finds it. */
  check(): Promise<void>
  /** Looks no more; the value stays as it is. */
  stop(): void
}

/** What to watch and what to make of it. */
export interface WatchOptions<F extends Paths<F>, V> {
  files: F
  /** Milliseconds between two looks. */
  intervalMs: number
  /** Makes the value, or throws what is wrong with the content; then the previous value stays. */
  load: (contents: Contents<F>, previous: V | undefined) => V
  /** Hears of every value but the first. */
  onChange: (value: V) => void
  /** Hears once of each content that cannot be used, and of each new reason why files cannot be read. */
  onFault: (fault: unknown) => void
}

// Passwords and certificates are kilobytes; a path that leads to something large is a mistake that must not fill the memory.
const largest = 4 * 1024 * 1024

/**
 * Reads files and makes a value of them, again whenever their content has changed; rejects if the first time fails.
 * Compares content, since notifications of the file system get lost when Kubernetes swaps symbolic links.
 */
export async function watchFiles<F extends Paths<F>, V>(options: WatchOptions<F, V>): Promise<FileWatch<V>> {
  const { files, intervalMs: interval, load, onChange, onFault } = options
  const first = await readAll(files)
  let value = load(first.contents, undefined)
  let taken = first.fingerprint
  let candidate = taken
  let unreadable: string | undefined
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  const mutex = createMutex()

  async function look(): Promise<void> {
    const found = await readAll(files).catch(complain)
    if (stopped || !found) return
    unreadable = undefined
    // A file that is being written, or a pair of which one half is old, looks different at the next look.
    const settled = found.fingerprint === candidate
    candidate = found.fingerprint
    if (!settled || found.fingerprint === taken) return
    taken = found.fingerprint
    value = load(found.contents, value)
    onChange(value)
  }

  function complain(fault: unknown): undefined {
    const reason = String(fault)
    if (!stopped && reason !== unreadable) onFault(fault)
    unreadable = reason
  }

  function check(): Promise<void> {
    return mutex(look).catch(onFault)
  }

  function schedule(): void {
    if (stopped) return
    timer = setTimeout(() => void check().then(schedule), interval).unref()
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
  // Opening a named pipe would wait for ever.
  if (!found.isFile()) throw new Error(`${path} is not a file`)
  if (found.size > largest) throw new Error(`${path} has ${found.size} bytes, more than ${largest}`)
  return await readFile(path)
}
