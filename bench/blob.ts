import type { Hash } from 'node:crypto'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { must } from '../test/e2e/command.ts'

/** A blob in a file. */
export interface Blob {
  readonly file: string
  readonly digest: string
  readonly size: number
}

const block = 4 * 1024 * 1024
const tail = 64

/** A file of random bytes whose end can be changed, so that a blob that no server has seen costs no second writing and hashing. */
export class FreshBlobs {
  readonly #file: string
  readonly #size: number
  readonly #head: Hash

  private constructor(file: string, size: number, head: Hash) {
    this.#file = file
    this.#size = size
    this.#head = head
  }

  /** Writes the file and reads it once. */
  static async make(file: string, size: number): Promise<FreshBlobs> {
    const handle = await open(file, 'w')
    for (let at = 0; at < size; at += block) await handle.write(randomBytes(Math.min(block, size - at)), 0, undefined, at)
    await handle.sync()
    await handle.close()
    const head = createHash('sha256')
    for await (const chunk of createReadStream(file, { end: size - tail - 1, highWaterMark: block })) head.update(chunk)
    return new FreshBlobs(file, size, head)
  }

  /** Makes another blob of the file; what it was before is gone. */
  async next(): Promise<Blob> {
    const end = randomBytes(tail)
    const handle = await open(this.#file, 'r+')
    await handle.write(end, 0, tail, this.#size - tail)
    await handle.close()
    return { file: this.#file, digest: `sha256:${this.#head.copy().update(end).digest('hex')}`, size: this.#size }
  }
}

/** Writes everything back, so that no server pays for what another one left dirty. */
export async function settle(): Promise<void> {
  await must('sync', [])
}
