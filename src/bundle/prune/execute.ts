import { isDenied, reasonOf } from '../../oci/errors.ts'
import { found } from '../../oci/found.ts'
import type { Name } from '../../oci/name.ts'
import type { TargetRegistry } from '../push/placement.ts'
import { nameBelow } from '../source.ts'
import type { PrunePlan } from './plan-file.ts'

/** What the execution of a plan reports; `done` is the last one, where it was not broken off. */
export type PruneEvent =
  | {
      type: 'tag'
      tag: string
      /** `absent`: it is not there any more; `changed`: it names something else now, and stays. */
      result: 'removed' | 'absent' | 'changed' | 'failed'
      reason?: string
    }
  | { type: 'done'; removed: number; absent: number; changed: number; failed: number }

/** Removes the tags of a plan that still name what they named. Can be run again. A missing right ends it. */
export async function* executePrune(
  registry: TargetRegistry,
  root: Name,
  { removals }: PrunePlan,
  { explain = reasonOf, signal }: { explain?: (error: unknown) => string; signal: AbortSignal }
): AsyncGenerator<PruneEvent, void> {
  const counts = { removed: 0, absent: 0, changed: 0, failed: 0 }
  for (const { path, tag, digest } of removals) {
    signal.throwIfAborted()
    const name = nameBelow(root, path)
    const about = { type: 'tag' as const, tag: `${path}:${tag}` }
    try {
      const there = (await found(registry.statManifest(name, { tag }, signal)))?.value.digest
      const result = there === undefined ? 'absent' : there === digest ? 'removed' : 'changed'
      if (result === 'removed') await registry.sink.deleteManifest(name, { tag }, signal)
      counts[result]++
      yield { ...about, result }
    } catch (error) {
      signal.throwIfAborted()
      counts.failed++
      yield { ...about, result: 'failed', reason: explain(error) }
      if (isDenied(error)) break
    }
  }
  yield { type: 'done', ...counts }
}
