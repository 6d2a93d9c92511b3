import { write, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** Limits of a line writer. */
export interface LineWriterOptions {
  /** Characters that are written at once when they have gathered. */
  gatherChars: number
  /** Fewer are written after this time. */
  gatherMs: number
  /** Characters that wait while the descriptor takes none; lines beyond them are lost. */
  maxHeldChars: number
  /** Beyond them, for lines that an answer waits for. */
  reservedChars: number
  /** The line that says how many were lost, with its line feed. */
  lostLine: (lines: number) => string
}

/**
 * Writes lines to a descriptor without ever blocking the event loop: its reader may stall, or its disk hang. They are
 * handed to the system and not synchronized to a disk.
 */
export class LineWriter {
  readonly #fd: number
  readonly #options: LineWriterOptions
  #lines: string[] = []
  #heldChars = 0
  #lost = 0
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #next: Promise<void> | undefined
  #writingSinceMs = 0

  constructor(fd: number, options: LineWriterOptions) {
    this.#fd = fd
    this.#options = options
  }

  /** Adds a line, with its line feed; false if it is lost. `essential`: an answer waits for it. */
  write(line: string, { essential = false } = {}): boolean {
    const { gatherChars, gatherMs, maxHeldChars, reservedChars } = this.#options
    if (this.#heldChars + line.length > maxHeldChars + (essential ? reservedChars : 0)) {
      this.#lost++
      return false
    }
    this.#lines.push(line)
    this.#heldChars += line.length
    if (this.#writing !== undefined) return true
    if (this.#heldChars >= gatherChars) this.flush().catch(ignore)
    else this.#timer ??= setTimeout(() => this.flush().catch(ignore), gatherMs).unref()
    return true
  }

  /** Resolves when all lines that were added before are handed to the system; rejects if the descriptor takes none. */
  flush(): Promise<void> {
    if (this.#writing === undefined) return this.#start()
    if (this.#lines.length === 0) return this.#writing
    // Lines that came meanwhile go together.
    this.#next ??= this.#writing.catch(ignore).then(() => {
      this.#next = undefined
      return this.#start()
    })
    return this.#next
  }

  /** Writes what waits at once, at the end of the process; not behind a write that hangs. */
  flushSync(): void {
    if (this.#writing !== undefined && performance.now() - this.#writingSinceMs > hangsAfterMs) return
    let rest = Buffer.from(this.#take())
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest))
      } catch {
        // The reader has left, or a pipe that does not block is full.
        return
      }
    }
  }

  #start(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#writingSinceMs = performance.now()
    this.#writing = this.#write(Buffer.from(this.#take())).finally(() => {
      this.#writing = undefined
      if (this.#heldChars >= this.#options.gatherChars) this.flush().catch(ignore)
      else if (this.#heldChars > 0) this.#timer ??= setTimeout(() => this.flush().catch(ignore), this.#options.gatherMs).unref()
    })
    return this.#writing
  }

  async #write(bytes: Buffer): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      const written = await writeOnce(this.#fd, rest)
      if (written === undefined) await delay(retryMs)
      else rest = rest.subarray(written)
    }
  }

  #take(): string {
    const lines = this.#lines.join('')
    this.#lines = []
    this.#heldChars = 0
    if (this.#lost === 0) return lines
    const lost = this.#lost
    this.#lost = 0
    return lines + this.#options.lostLine(lost)
  }
}

// Of a descriptor that does not block, such as a pipe of Node's own.
const retryMs = 50
const hangsAfterMs = 1_000

// Undefined if it takes nothing now.
function writeOnce(fd: number, bytes: Buffer): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, (error, written) => {
      if (!error) resolve(written)
      else if (error.code === 'EAGAIN') resolve(undefined)
      else reject(error)
    })
  })
}

function ignore(): void {}
