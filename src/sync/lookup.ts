import type { Clock } from '../../storage/clock.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { type Entry, supersedes } from './entry.ts'
import type { AskPeer } from './follower.ts'
import { readLookup } from './messages.ts'

/** What the peers have: at these of them, the best first; nowhere; or unknown, since these could not be asked. */
export type Found = { at: readonly string[]; digest: Digest } | 'absent' | { unknown: readonly string[] }

/** What peers are asked with. */
export interface LookupDeps {
  clock: Clock
  ask: AskPeer
  peers: () => readonly string[]
  /** The entry of the key here. */
  own: Entry | undefined
  /** A peer's entry, which may be news here. */
  onEntry: (peer: string, entry: Entry) => void
}

interface Told {
  peer: string
  /** Absent if the peer could not be asked. */
  answer?: ReturnType<typeof readLookup>
}

// A peer that has it need not be waited for longer than this by the others.
const hedgeMs = 300
const timeoutMs = 2_000

/**
 * Asks all peers for a tag, a manifest or a blob that is not here. It is absent only if each of them says so, or if the
 * latest entry of all is a tombstone.
 */
export async function lookUp(
  { name, reference, of }: { name: Name; reference: string; of: 'manifest' | 'blob' },
  { clock, ask, peers, own, onEntry }: LookupDeps,
  signal: AbortSignal
): Promise<Found> {
  const all = peers()
  const told: Told[] = []
  const enough = Promise.withResolvers<void>()
  let late = false
  const look = () => {
    // What is named by its digest is the same everywhere.
    const found = told.some(({ answer }) => answer?.here !== undefined && (late || answer.here === reference))
    if (found || told.length === all.length) enough.resolve()
  }
  const cancel = clock.after(hedgeMs, () => {
    late = true
    look()
  })
  const asking = all.map(async peer => {
    const answer = await ask(peer, { kind: 'lookup', name, reference, of }, timeoutMs, signal).then(readLookup, () => undefined)
    told.push({ peer, ...(answer ? { answer } : {}) })
    if (answer?.entry) onEntry(peer, answer.entry)
    look()
  })
  if (asking.length > 0) await enough.promise
  cancel()
  signal.throwIfAborted()
  return judge(told, all, own)
}

function judge(told: readonly Told[], all: readonly string[], own: Entry | undefined): Found {
  let latest = own
  for (const { answer } of told) if (answer?.entry && (!latest || supersedes(answer.entry, latest))) latest = answer.entry
  const having =
    latest && latest.value === undefined
      ? []
      : told.filter(({ answer }) => answer?.here !== undefined && (!latest || answer.here === latest.value))
  const digest = having[0]?.answer?.here
  if (digest) return { at: having.map(each => each.peer), digest }
  const silent = all.filter(peer => !told.some(each => each.peer === peer && each.answer))
  // An entry whose content no peer has at hand is no answer: it is on its way.
  if (silent.length > 0 || latest?.value !== undefined) return { unknown: silent.length > 0 ? silent : all }
  return 'absent'
}
