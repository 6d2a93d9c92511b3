import { until } from '../src/support.ts'
import type { Ending } from '../support/place.ts'

/** What goes on beside a test until it is stopped. */
export interface Loop {
  /** Resolves when it was done so many times more; rejects when it has ended. */
  turns(more: number): Promise<void>
  /** Ends it after what is under way, and gives what went wrong. */
  stop(): Promise<{ count: number; failures: readonly string[] }>
}

// The first ones tell what there is to know.
const mostFailures = 20

/** Does something again and again until the test ends, so many at a time; `work` resolves to what went wrong. */
export function startLoop(t: Ending, work: () => Promise<readonly string[]>, atOnce = 1): Loop {
  const failures: string[] = []
  let [running, count] = [true, 0]
  const loop = async () => {
    while (running && failures.length < mostFailures) {
      failures.push(...(await work().catch((error: Error) => [error.message])))
      count++
    }
  }
  const ended = Promise.all(Array.from({ length: atOnce }, loop))
  const stop = async () => {
    running = false
    await ended
    return { count, failures }
  }
  t.teardown(stop)
  const turns = async (more: number) => {
    const enough = count + more
    let over = false
    void ended.then(() => {
      over = true
    })
    await until(() => over || count >= enough)
    if (over) throw new Error(`ended after ${count} turns: ${failures.join('; ')}`)
  }
  return { turns, stop }
}
