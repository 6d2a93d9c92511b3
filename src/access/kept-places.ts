import { setTimeout as sleep } from 'node:timers/promises'
import { createSemaphore } from '../../storage/semaphore.ts'

/**
 * The part of the bcrypt queue in which each owner has a place of its own, which stays free for it. One job runs at a
 * time.
 */
export interface KeptPlaces {
  /** Runs the job in its turn; joins the one of the same owner and key, undefined while the place has another one. */
  run(owner: string, key: string, job: () => Promise<boolean>): Promise<boolean> | undefined
}

// Of one processor the jobs take a quarter.
const restPerWork = 3

/**
 * Creates the places. After each job comes a pause three times as long; `now` is in milliseconds, and monotonic: a wall
 * clock that is set during a job would make a pause of hours.
 */
export function createKeptPlaces(now: () => number = monotonicMs, rest: (ms: number) => Promise<void> = pause): KeptPlaces {
  const places = new Map<string, { key: string; result: Promise<boolean> }>()
  const inTurn = createSemaphore(1)
  return {
    run(owner, key, job) {
      const place = places.get(owner)
      if (place) return place.key === key ? place.result : undefined
      const { promise: result, resolve, reject } = Promise.withResolvers<boolean>()
      places.set(owner, { key, result })
      void inTurn(async () => {
        const began = now()
        await job().then(resolve, reject)
        places.delete(owner)
        await rest(restPerWork * Math.max(0, now() - began))
      })
      return result
    }
  }
}

function monotonicMs(): number {
  return performance.now()
}

async function pause(ms: number): Promise<void> {
  await sleep(ms, undefined, { ref: false })
}
