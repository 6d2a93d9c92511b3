import { createGate } from './gate.ts'
import { createKeptPlaces } from './kept-places.ts'
import { createLoginThrottle, type Login, type LoginThrottleLimits } from './login-throttle.ts'
import { createWaiters, type WaiterLimits } from './waiters.ts'

/** The result of a check. */
export type Verdict = { outcome: 'ok' | 'cached' | 'failed' } | { outcome: 'limited'; retryAfterMs: number }

/** The verdict on what found no room: nothing was learned about the password. */
export const limited = { outcome: 'limited', retryAfterMs: 1000 } as const

/** Bounds on bcrypt jobs, and on what waits for them. */
export interface BcryptLimits {
  /** Jobs at once, and checks that may wait for one, beside the kept places. */
  jobs: { running: number; waiting: number }
  /** Requests that wait for a check of another one, or for a kept place. */
  waiters: WaiterLimits
  throttle: LoginThrottleLimits
  /** Time after which a check that found no room is answered, unless the password turns out to be right before. */
  heldMs: number
}

/** A password that is to be checked. */
export interface Check {
  /** Different for each user and password. */
  readonly key: string
  readonly login: Login
  /** The user, if it exists. */
  readonly owner: string | undefined
  /** Resolves to whether the password is right. Takes the same work for every user if not. */
  readonly job: () => Promise<boolean>
}

/**
 * The queue of bcrypt jobs.
 *
 * When and how a wrong password is answered depends on nothing but what any client can cause: the buckets and the queue
 * treat users alike whether they exist or not. A right password may be answered sooner. So where the shared buckets or
 * the queue have no room, each user still has its kept place, and all that are not right are answered alike after
 * `heldMs`.
 */
export interface BcryptQueue {
  /** Takes an attempt and begins the check, or returns why not. */
  run(check: Check): { verdict: Promise<Verdict> } | Extract<Verdict, { outcome: 'limited' }>
  /** Waits for a running check, which has `others` waiters already; undefined beyond the limits. */
  wait(verdict: () => Promise<Verdict>, others: number): Promise<Verdict> | undefined
}

// No user has an empty name: the place that all users share that do not exist.
const noUser = ''

/** Creates the queue; `now` is in milliseconds. */
export function createBcryptQueue(limits: BcryptLimits, now: () => number): BcryptQueue {
  const throttle = createLoginThrottle(limits.throttle, now)
  const gate = createGate(limits.jobs)
  const kept = createKeptPlaces()
  const waiters = createWaiters(limits.waiters)

  async function inQueue(login: Login, job: Promise<boolean>): Promise<Verdict> {
    if (!(await job)) return { outcome: 'failed' }
    throttle.refund(login)
    throttle.refundShared(login)
    return { outcome: 'ok' }
  }

  // Not `failed`, which would be remembered: whether the place was free depends on whether the user exists.
  async function inKeptPlace({ key, login, owner, job }: Check): Promise<Verdict> {
    const right = kept.run(owner ?? noUser, key, async () => {
      const is = await job()
      if (is) throttle.refund(login)
      return is
    })
    return (await within(right, limits.heldMs)) ? { outcome: 'ok' } : limited
  }

  function begin(check: Check): Promise<Verdict> | undefined {
    if (throttle.takeShared(check.login)) {
      const job = gate.run(check.job)
      if (job) return inQueue(check.login, job)
      throttle.refundShared(check.login)
    }
    return waiters.wait(() => inKeptPlace(check), 0)
  }

  return {
    run(check) {
      const retryAfterMs = throttle.take(check.login)
      if (retryAfterMs !== undefined) return { outcome: 'limited', retryAfterMs }
      const verdict = begin(check)
      return verdict ? { verdict } : limited
    },
    wait: (verdict, others) => waiters.wait(verdict, others)
  }
}

/** Whether `right` became true in time. What is false is told at the end of the time only. */
function within(right: Promise<boolean> | undefined, ms: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms, false)
    const end = (tell: () => void) => {
      clearTimeout(timer)
      tell()
    }
    right?.then(is => is && end(() => resolve(true))).catch(error => end(() => reject(error)))
  })
}
