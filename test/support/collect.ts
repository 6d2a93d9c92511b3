import { collect, type GcEvent, type GcPolicy, type Removal } from '../../src/content/gc/collect.ts'
import { type EvictPolicy, evict } from '../../src/content/gc/evict.ts'
import type { Yield } from '../../src/content/gc/yield.ts'
import type { Opened } from './content.ts'

/** One hour in ms. */
export const hour = 3_600_000

/** As fast as it goes. */
export const noYield: Yield = { step: async () => {} }

type Given = Pick<Opened, 'content' | 'storage'>

/** What a collection tells, two hours from now unless it is told otherwise, with a grace of one. */
export function collecting(
  { storage, content }: Given,
  { inHours = 2, ...more }: Partial<GcPolicy> & { dryRun?: true; inHours?: number; yielder?: Yield } = {}
): AsyncGenerator<GcEvent> {
  const now = () => Date.now() + inHours * hour
  return collect(storage, content, { grace: hour, unreferencedCached: 'sweep', yielder: noYield, now, ...more })
}

/** What a collection removes, in short. */
export async function collected(given: Given, more: Parameters<typeof collecting>[1] = {}): Promise<string[]> {
  return summaries(await Array.fromAsync(collecting(given, more)))
}

/** What an eviction removes of what was last asked for before `before`, or in a dry run would remove, in short; the grace is over. */
export async function evicted(
  { storage, content }: Given,
  before: number,
  { dryRun, ...more }: Partial<EvictPolicy> & { dryRun?: true } = {}
): Promise<string[]> {
  const policy: EvictPolicy = { reason: 'expired', before: () => before, pinned: () => false, grace: 0, ...more }
  return summaries(await Array.fromAsync(evict(storage, content, policy, { yielder: noYield, ...(dryRun ? { dryRun } : {}) })))
}

/** Each removal as `<kind> <what>`, in order. */
export function summaries(events: readonly GcEvent[]): string[] {
  return events
    .filter((each): each is Removal => each.type === 'remove')
    .map(({ kind, name, digest, tag }) => [kind, tag ?? digest ?? name].join(' '))
    .sort()
}
