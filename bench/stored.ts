import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const limit = 60_000

/** Resolves when a blob is in a store: some caches answer first, and store behind the client's back. */
export async function stored(file: string, size: number): Promise<void> {
  const deadline = Date.now() + limit
  while ((await stat(file).catch(() => undefined))?.size !== size) {
    if (Date.now() > deadline) throw new Error(`${file} was not stored in ${limit / 1000} s`)
    await sleep(20)
  }
}
