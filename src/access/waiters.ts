/** Bounds on requests that wait for a check of a password. */
export interface WaiterLimits {
  /** For one check, and in sum. */
  perCheck: number
  total: number
}

/**
 * Counts the requests that wait for a check. A check outlives the connection of its request, so the number of
 * connections does not bound them.
 */
export interface Waiters {
  /** Waits for the result, which has `others` waiters already; undefined beyond the limits. */
  wait<T>(result: () => Promise<T>, others: number): Promise<T> | undefined
}

/** Creates the count. */
export function createWaiters({ perCheck, total }: WaiterLimits): Waiters {
  let waiting = 0
  return {
    wait(result, others) {
      if (others >= perCheck || waiting >= total) return undefined
      waiting++
      return result().finally(() => waiting--)
    }
  }
}
