import type { UpstreamError } from '../upstream/upstream.ts'
import { causeOf } from './cause.ts'
import type { Cause, ContentState, DiskReport, ManifestLine, StoredReference } from './report.ts'

/** What the verdict is based on. */
export interface Evidence {
  mode: 'Direct' | 'Proxy' | 'Local'
  /** Where a pull would get the manifest; absent: nowhere. */
  from?: 'store' | 'upstream' | 'store, as the last known'
  /** Why the upstream, or in Local the storage, has no manifest. */
  absent?: Cause
  stored?: StoredReference
  lines: readonly ManifestLine[]
  /** The upstream's error when it was asked for blobs. */
  upstreamError?: UpstreamError
  disk: DiskReport
  platform: string
}

/** Decides whether a pull works, and what is wrong. */
export function judge(evidence: Evidence): { works: boolean; cause: Cause } {
  const { from, lines, disk, platform } = evidence
  if (from === undefined) return { works: false, cause: causeOfAbsence(evidence) }
  const worst = worstOf(needed(lines, platform), evidence)
  if (worst) return { works: false, cause: causeOfState(worst, evidence) }
  if (evidence.absent) return { works: true, cause: evidence.absent }
  if (disk.writable !== 'yes' && evidence.mode !== 'Direct') return { works: true, cause: disk.writable === 'full' ? 'disk-full' : 'disk' }
  const elsewhere = worstOf(lines, evidence)
  return { works: true, cause: elsewhere ? causeOfState(elsewhere, evidence) : 'none' }
}

/** The manifests that a node like this one pulls: those of its platform, or all if the index has none for it. */
export function needed(lines: readonly ManifestLine[], platform: string): readonly ManifestLine[] {
  const own = lines.filter(line => line.platform === platform || line.platform?.startsWith(`${platform}/`))
  return own.length > 0 ? own : lines
}

// On a full disk a push is refused: content is missing because space is.
function causeOfAbsence({ mode, absent, stored, disk }: Evidence): Cause {
  if (stored?.state === 'damaged') return absent && mode !== 'Local' ? absent : 'damaged'
  if (mode === 'Local' && disk.writable !== 'yes') return disk.writable === 'full' ? 'disk-full' : 'disk'
  return absent ?? 'manifest-unknown'
}

const worstFirst: readonly ContentState[] = ['damaged', 'missing', 'unknown']
type Worst = { what: 'manifest' | 'blob'; state: ContentState }

// A state is unknown without an error where the limit of requests was reached: that is no fault.
function worstOf(lines: readonly ManifestLine[], { upstreamError }: Evidence): Worst | undefined {
  const all = lines.flatMap(line => [
    { what: 'manifest', state: line.state } as const,
    ...line.blobs.map(({ state }) => ({ what: 'blob', state }) as const)
  ])
  for (const bad of worstFirst) {
    const found = all.find(({ state }) => state === bad && (state !== 'unknown' || upstreamError !== undefined))
    if (found) return found
  }
  return undefined
}

function causeOfState({ what, state }: Worst, { upstreamError }: Evidence): Cause {
  if (state === 'damaged') return 'damaged'
  if (state === 'missing') return what === 'blob' ? 'blob-unknown' : 'manifest-unknown'
  return upstreamError ? causeOf(upstreamError) : 'none'
}
