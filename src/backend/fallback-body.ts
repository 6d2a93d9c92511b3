import { OciError } from '../oci/errors.ts'
import type { Body } from '../oci/source.ts'
import { isTransient } from './errors.ts'

/**
 * A body whose medium may fail in the middle: then the rest is read from `open`, a body of the same bytes from the first on that can only be read forward. Errors other
 * than the medium's are passed on.
 */
export function fallbackBody(first: Body, open: () => Promise<Body>): Body {
  return new FallbackBody(first, open)
}

/** What `here` gives, or `there` where the medium fails before that; where upstream cannot be asked either, the medium's error says what is wrong. */
export async function orFallback<T>(here: () => Promise<T>, there: () => Promise<T>): Promise<T> {
  try {
    return await here()
  } catch (fault) {
    if (!isStorageError(fault)) throw fault
    return await there().catch(error => {
      throw isTransient(error instanceof OciError ? error.cause : error) ? fault : error
    })
  }
}

/** Whether an error is the medium's: those of system calls have a code, those of upstreams have a name. */
export function isStorageError(error: unknown): boolean {
  return error instanceof Error && error.name === 'Error' && 'code' in error && typeof error.code === 'string'
}

// A call that hangs may still write into what it was given.
function holdsMemory(error: unknown): boolean {
  return (error as { underway?: boolean }).underway === true
}

class FallbackBody implements Body {
  readonly #open: () => Promise<Body>
  #body: Body
  /** Where the second body stands; undefined while the first serves. */
  #at: number | undefined

  constructor(first: Body, open: () => Promise<Body>) {
    this.#body = first
    this.#open = open
  }

  /** That of the first; what comes from elsewhere is not known to be the same. */
  get identity(): Body['identity'] {
    return this.#at === undefined ? this.#body.identity : undefined
  }

  ready(position: number): Promise<void> | undefined {
    // What is wrong shows when it is read.
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

  // The client has these bytes already; they are read again since only a whole can be verified.
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
