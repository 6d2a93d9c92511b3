import { setImmediate } from 'node:timers/promises'

// Sorted in some milliseconds.
const runLength = 4096

/**
 * The items in the order of their keys, each key once: the last one, as in a Map. Gives way between short runs, since
 * to sort 200,000 strings that an upstream sends out of order takes a quarter of a second. One that keeps to the
 * distribution-spec sends them in order, which is one pass.
 */
export async function sortUnique<T>(items: readonly T[], keyOf: (item: T) => string): Promise<T[]> {
  if (isOrdered(items, keyOf)) return [...items]
  let runs: T[][] = []
  for (let at = 0; at < items.length; at += runLength) {
    // Stable: of equal keys the last one stays last.
    runs.push(items.slice(at, at + runLength).sort((a, b) => compare(keyOf(a), keyOf(b))))
    await setImmediate()
  }
  while (runs.length > 1) {
    const merged: T[][] = []
    for (let at = 0; at < runs.length; at += 2) merged.push(await merge(runs[at] ?? [], runs[at + 1] ?? [], keyOf))
    runs = merged
  }
  const [sorted = []] = runs
  return sorted.filter((each, at) => at + 1 === sorted.length || keyOf(each) !== keyOf(sorted[at + 1] as T))
}

function isOrdered<T>(items: readonly T[], keyOf: (item: T) => string): boolean {
  return items.every((each, at) => at === 0 || keyOf(items[at - 1] as T) < keyOf(each))
}

async function merge<T>(left: readonly T[], right: readonly T[], keyOf: (item: T) => string): Promise<T[]> {
  const merged: T[] = []
  for (let [at, other] = [0, 0]; at < left.length || other < right.length; ) {
    const takesLeft = other === right.length || (at < left.length && keyOf(left[at] as T) <= keyOf(right[other] as T))
    merged.push((takesLeft ? left[at++] : right[other++]) as T)
    if (merged.length % runLength === 0) await setImmediate()
  }
  return merged
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
