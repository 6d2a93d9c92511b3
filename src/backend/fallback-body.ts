import { OciError } from '../oci/errors.ts'
import type { Body } from '../oci/source.ts'
import { isNoAnswer } from './errors.ts'

/**
 * A body that continues elsewhere after an I/O error of the storage: the rest is read from the body that `open` gives,
 * which has the same bytes from the first on and can only be read forward. Other errors are thrown.
 */
export function fallbackBody(first: Body, open: () => Promise<Body>): Body {
  return new FallbackBody(first, open)
}

/**
 * The result of `here`, or of `there` after an I/O error of the storage. If the upstream fails too, the I/O error is
 * thrown.
 */
export async function orFallback<T>(here: () => Promise<T>, there: () => Promise<T>): Promise<T> {
  try {
    return await here()
  } catch (fault) {
    if (!isStorageError(fault)) throw fault
    return await there().catch(error => {
      throw isNoAnswer(error instanceof OciError ? error.cause : error) ? fault : error
    })
  }
}

/**
 * Whether an error is an I/O error of the storage: those of system calls have a code, those of upstreams have a name.
 */
export function isStorageError(error: unknown): error is Error {
  return error instanceof Error && error.name === 'Error' && 'code' in error && typeof error.code === 'string'
}

// A read that hangs may still write into its buffer.
function holdsMemory(error: unknown): boolean {
  return (error as { underway?: boolean }).underway === true
}

class FallbackBody implements Body {
  readonly #open: () => Promise<Body>
  #body: Body
  /** The position of the second body; undefined while the first serves. */
  #at: number | undefined

  constructor(first: Body, open: () => Promise<Body>) {
    this.#body = first
    this.#open = open
  }

  /** Of the first body; bytes from elsewhere are not known to be the same. */
  get identity(): Body['identity'] {
    return this.#at === undefined ? this.#body.identity : undefined
  }

  ready(position: number): Promise<void> | undefined {
    // An error shows when the bytes are read.
    return this.#at === undefined ? this.#body.ready?.(position)?.catch(() => {}) : undefined
  }

  async readInto(into: Buffer, position: number): Promise<number> {
    if (this.#at === undefined) {
      try {
        return await this.#body.readInto(into, position)
      } catch (error) {
        if (!isStorageError(error) || holdsMemory(error)) throw error
        await this.#replace()
      }
    }
    return this.#forward(into, position)
  }

  async #replace(): Promise<void> {
    const failed = this.#body
    this.#body = await this.#open()
    this.#at = 0
    await failed.close()
  }

  // The client has the bytes before `position`; they are read again since only a whole blob can be verified.
  async #forward(into: Buffer, position: number): Promise<number> {
    let at = this.#at ?? 0
    for (let read = -1; at < position && read !== 0; at += read) read = await this.#body.readInto(into.subarray(0, position - at), at)
    const read = at < position ? 0 : await this.#body.readInto(into, at)
    this.#at = at + read
    return read
  }

  close(): Promise<void> {
    return this.#body.close()
  }
}
