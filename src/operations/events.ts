import type { Digest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'

/** What can be wrong with the tree. */
export type DamageKind = 'blob' | 'manifest' | 'link' | 'tag' | 'upload' | 'referrer'

/** What was done about it; `reported` means that a person has to. */
export type DamageAction = 'quarantined' | 'reported' | 'removed' | 'rebuilt'

/** Something in the tree that is not as it should be. */
export interface Damaged {
  type: 'damaged'
  kind: DamageKind
  digest?: Digest
  /** The repositories that are concerned; of many, the first ones. */
  names: readonly Name[]
  tag?: Tag
  /** An upload session. */
  session?: string
  reason: string
  action: DamageAction
}

/** What may be as intended and may be not: a part that a manifest names and that is not here. */
export interface Warned extends Omit<Damaged, 'type' | 'action'> {
  type: 'warning'
}

/** How far long work has come. */
export interface Progressed {
  type: 'progress'
  done: number
  total?: number
  unit: 'bytes' | 'items'
}

/** What a scrub found, by what became of it. */
export interface ScrubTotals {
  blobs: number
  bytes: number
  repositories: number
  damaged: number
  /** Of the damaged: mended by the scrub itself, so that nobody has to do anything. */
  mended: number
  warnings: number
}

/** The end of a scrub. */
export interface ScrubDone extends ScrubTotals {
  type: 'done'
}

/** What a scrub tells. */
export type ScrubEvent = Damaged | Warned | Progressed | ScrubDone

/** Counts an event into the totals. */
export function countEvent(totals: ScrubTotals, event: ScrubEvent): void {
  if (event.type === 'warning') totals.warnings++
  if (event.type !== 'damaged') return
  totals.damaged++
  if (event.action === 'removed' || event.action === 'rebuilt') totals.mended++
}

/** Says `true` at most once in `interval` ms, so that progress costs little. */
export function atMostEvery(interval: number, now: () => number): () => boolean {
  let last = Number.NEGATIVE_INFINITY
  return () => {
    if (now() - last < interval) return false
    last = now()
    return true
  }
}
