import type { Clock } from '../../storage/clock.ts'
import { type Entry, sendEntry } from './entry.ts'
import type { AskPeer } from './follower.ts'
import { readConfirm } from './messages.ts'

/** A majority does not hold what was written: these replicas are missing, each with the reason. */
export class NotAcknowledgedError extends Error {
  override readonly name = 'NotAcknowledgedError'
  readonly missing: readonly string[]

  constructor(missing: readonly string[], reasons: readonly string[]) {
    super(`no majority of the replicas holds it: ${reasons.join('; ')}`)
    this.missing = missing
  }
}

/** What a write is acknowledged with. */
export interface AcknowledgeDeps {
  clock: Clock
  ask: AskPeer
  peers: readonly string[]
}

// A peer that copies is asked again and again, one that cannot be reached a few times.
const waitMs = 20_000
const answerMs = 5_000
const attempts = 3
const retryMs = 500
// A peer that has not finished by then has a full disk, or no way to the content.
const limitMs = 600_000

/** How many peers make a majority together with this replica. */
export function majorityOf(peers: number): number {
  return Math.floor((peers + 1) / 2)
}

/**
 * Resolves when a majority of the replicas, this one included, shows these entries or later ones and all that is below
 * them, durably. Rejects with a NotAcknowledgedError when too many cannot.
 */
export async function acknowledge(entries: readonly Entry[], deps: AcknowledgeDeps, signal: AbortSignal): Promise<void> {
  const { peers } = deps
  const needed = majorityOf(peers.length)
  if (needed === 0) return
  const enough = new AbortController()
  const until = AbortSignal.any([signal, enough.signal])
  const missing = new Map<string, string>()
  let holding = 0
  const ended = Promise.withResolvers<void>()
  for (const peer of peers) {
    void confirm(peer, entries, deps, until).then(reason => {
      if (reason === undefined) holding++
      else missing.set(peer, reason)
      if (holding >= needed || peers.length - missing.size < needed) ended.resolve()
    })
  }
  await ended.promise
  enough.abort(new Error('it is decided'))
  signal.throwIfAborted()
  if (holding < needed)
    throw new NotAcknowledgedError(
      [...missing.keys()],
      [...missing].map(([peer, reason]) => `${peer}: ${reason}`)
    )
}

// Resolves to why the peer does not hold the entries; undefined if it does.
async function confirm(
  peer: string,
  entries: readonly Entry[],
  { clock, ask }: AcknowledgeDeps,
  signal: AbortSignal
): Promise<string | undefined> {
  const question = { kind: 'confirm', entries: entries.map(sendEntry), waitMs } as const
  const startedAt = clock.monotonic()
  let reason = 'it does not answer'
  for (let failures = 0; failures < attempts && clock.monotonic() - startedAt < limitMs; ) {
    try {
      const answer = readConfirm(await ask(peer, question, waitMs + answerMs, signal))
      if (answer.applied) return undefined
      reason = answer.reason ?? 'it is not complete there'
    } catch (error) {
      if (signal.aborted) return reason
      reason = (error as Error).message
      failures++
      await clock.sleep(retryMs, signal).catch(() => {})
    }
  }
  return reason
}
