import { collect, type GcEvent, type GcPolicy, type Removal } from '../../src/content/gc/collect.ts'
import { type EvictPolicy, evict } from '../../src/content/gc/evict.ts'
import type { Yield } from '../../src/content/gc/yield.ts'
import type { Opened } from './content.ts'

/** One hour in ms. */
export const hour = 3_600_000

/** Never pauses. */
export const noYield: Yield = { step: async () => {} }

type Target = Pick<Opened, 'content' | 'storage'>

/** The events of a garbage collection, two hours from now by default, with a grace period of one. */
export function collecting(
  { storage, content }: Target,
  { inHours = 2, ...more }: Partial<GcPolicy> & { dryRun?: true; inHours?: number; yielder?: Yield } = {}
): AsyncGenerator<GcEvent> {
  const now = () => Date.now() + inHours * hour
  return collect(storage, content, { grace: hour, unreferencedCached: 'sweep', yielder: noYield, now, ...more })
}

/** The removals of a garbage collection, as `summaries` gives them. */
export async function collected(target: Target, more: Parameters<typeof collecting>[1] = {}): Promise<string[]> {
  return summaries(await Array.fromAsync(collecting(target, more)))
}

/**
 * The removals of an eviction of content with a last access before `before`, as `summaries` gives them; without a grace
 * period.
 */
export async function evicted(
  { storage, content }: Target,
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
