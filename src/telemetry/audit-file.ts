import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'

/** What an audit file reports. */
export interface AuditFileEvents {
  /** The file takes no lines, from now on. */
  onFault(error: unknown): void
  /** It takes lines again, or so many lines had no room in memory. */
  onRecovery(lost: number): void
}

// Lines that wait while the file takes none; beyond that they are only counted.
const maxHeldBytes = 1024 * 1024
// How often the path is looked at for another file.
const checkIntervalMs = 1_000
const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK

/**
 * A file of lines that are written before they are answered for. What it cannot take is held in memory, within a limit,
 * and written first when it can. A file that was renamed or removed, as logrotate does, is made anew.
 */
export class AuditFile {
  readonly #path: string
  readonly #events: AuditFileEvents
  #handle: FileHandle
  #lines: Buffer[] = []
  #heldBytes = 0
  #lost = 0
  /** Whether the last byte written is inside a line. */
  #torn = false
  #fault: unknown
  #writing: Promise<void> | undefined
  #next: Promise<void> | undefined
  #checkedAtMs = 0

  private constructor(path: string, handle: FileHandle, events: AuditFileEvents) {
    this.#path = path
    this.#handle = handle
    this.#events = events
  }

  /** Opens the file, or makes it with mode 0600; rejects unless it is a regular file that can be written. */
  static async open(path: string, events: AuditFileEvents): Promise<AuditFile> {
    return new AuditFile(path, await openRegular(path), events)
  }

  /** Why the file takes no lines at present. */
  get fault(): unknown {
    return this.#fault
  }

  /** Adds a line, with its line feed; false if it is lost. */
  append(text: string): boolean {
    const line = Buffer.from(text)
    if (this.#heldBytes + line.length > maxHeldBytes) {
      this.#lost++
      return false
    }
    this.#lines.push(line)
    this.#heldBytes += line.length
    return true
  }

  /** Resolves when all lines that were appended before are handed to the system; rejects if that fails at present. */
  flush(): Promise<void> {
    if (this.#writing === undefined) return this.#start()
    if (this.#lines.length === 0) return this.#writing
    // Lines that came meanwhile go together.
    this.#next ??= this.#writing
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.#start()
      })
    return this.#next
  }

  /** Has the next write look at the path at once. */
  reopen(): void {
    this.#checkedAtMs = Number.NEGATIVE_INFINITY
  }

  /** Closes the file; lines that are not written by then are lost. */
  async close(): Promise<void> {
    await this.flush().catch(() => {})
    await this.#handle.close()
  }

  #start(): Promise<void> {
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined
    })
    return this.#writing
  }

  async #write(): Promise<void> {
    try {
      await this.#followPath()
      await this.#writeLines()
    } catch (error) {
      const first = this.#fault === undefined
      this.#fault = error
      if (first) this.#events.onFault(error)
      throw error
    }
    if (this.#fault === undefined && this.#lost === 0) return
    this.#fault = undefined
    const lost = this.#lost
    this.#lost = 0
    this.#events.onRecovery(lost)
  }

  // Those that come meanwhile are for the next time: no answer waits for the lines of later ones.
  async #writeLines(): Promise<void> {
    for (let count = this.#lines.length; count > 0; ) {
      const lines = this.#lines.slice(0, count)
      const bytes = Buffer.concat(this.#torn ? [lineFeed, ...lines] : lines)
      const { bytesWritten } = await this.#handle.write(bytes)
      count -= this.#take(lines, bytesWritten - (this.#torn ? 1 : 0))
    }
  }

  // Takes away the lines that were written, and returns their number. One that was begun is written anew, as a line of
  // its own.
  #take(lines: readonly Buffer[], bytesWritten: number): number {
    let left = bytesWritten
    let whole = 0
    for (const { length } of lines) {
      if (length > left) break
      left -= length
      whole++
    }
    this.#lines = this.#lines.slice(whole)
    this.#heldBytes -= bytesWritten - left
    this.#torn = left !== 0
    return whole
  }

  async #followPath(): Promise<void> {
    const now = performance.now()
    if (now - this.#checkedAtMs < checkIntervalMs) return
    this.#checkedAtMs = now
    const [there, here] = [await stat(this.#path).catch(() => undefined), await this.#handle.stat()]
    if (there && there.ino === here.ino && there.dev === here.dev) return
    const handle = await openRegular(this.#path)
    const old = this.#handle
    this.#handle = handle
    this.#torn = false
    await old.close()
  }
}

const lineFeed = Buffer.from('\n')

async function openRegular(path: string): Promise<FileHandle> {
  const handle = await open(path, flags, 0o600)
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw new Error(`${path} is not a regular file`)
}
