import type { Digest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'

/** What can be damaged. */
export type DamageKind = 'blob' | 'manifest' | 'link' | 'tag' | 'upload' | 'referrer'

/** What the scrub did about it; `reported`: nothing, an administrator has to. */
export type DamageAction = 'quarantined' | 'reported' | 'removed' | 'rebuilt'

/** Damage that a scrub found. */
export interface DamageEvent {
  type: 'damaged'
  kind: DamageKind
  digest?: Digest
  /** The repositories that have it; of many, the first ones. */
  names: readonly Name[]
  tag?: Tag
  /** An upload session. */
  session?: string
  reason: string
  action: DamageAction
}

/** What may be intended: a part of a manifest that is not stored. */
export interface WarningEvent extends Omit<DamageEvent, 'type' | 'action'> {
  type: 'warning'
}

/** The progress of an operation. */
export interface OperationProgress {
  type: 'progress'
  done: number
  total?: number
  unit: 'bytes' | 'items'
  /** What is under way; then the bar tells the rate and the time left too. */
  item?: string
}

/** What a scrub found, counted. */
export interface ScrubTotals {
  blobs: number
  bytes: number
  repositories: number
  damaged: number
  /** Of the damaged: repaired by the scrub itself. */
  mended: number
  warnings: number
}

/** The end of a scrub. */
export interface ScrubDone extends ScrubTotals {
  type: 'done'
}

/** What a scrub reports. */
export type ScrubEvent = DamageEvent | WarningEvent | OperationProgress | ScrubDone

/** Counts an event into the totals. */
export function countEvent(totals: ScrubTotals, event: ScrubEvent): void {
  if (event.type === 'warning') totals.warnings++
  if (event.type !== 'damaged') return
  totals.damaged++
  if (event.action === 'removed' || event.action === 'rebuilt') totals.mended++
}

/** Answers `true` at most once in `intervalMs`, so that progress costs little. */
export function atMostEvery(intervalMs: number, now: () => number): () => boolean {
  let last = Number.NEGATIVE_INFINITY
  return () => {
    if (now() - last < intervalMs) return false
    last = now()
    return true
  }
}
