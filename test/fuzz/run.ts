import type { IAsyncProperty, IProperty } from 'fast-check'
import { assert } from 'fast-check'
import { scale, seed } from '../long/scale.ts'

const workers = 4
let cases = 0

/** How many cases ran so far in this process. */
export function casesRun(): number {
  return cases
}

/** Tries a property with `runs` cases in a run for every change, and with more at full scale. A failure says how to repeat it. */
export function tryPure<T>(property: IProperty<T>, runs: number): void {
  const numRuns = runs * scale.fuzzFactor
  assert(property, { numRuns, seed })
  cases += numRuns
}

/** The same against a server: some workers side by side, each with what `prepare` makes for it. */
export async function tryServer<T, W>(prepare: () => W, property: (worker: W) => IAsyncProperty<T>, runs: number): Promise<void> {
  const numRuns = Math.ceil((runs * scale.fuzzFactor) / workers)
  const all = Array.from({ length: workers }, (_, index) => assert(property(prepare()), { numRuns, seed: seed + index }))
  const outcomes = await Promise.allSettled(all)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  cases += numRuns * workers
}
