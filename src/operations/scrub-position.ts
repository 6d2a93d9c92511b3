import type { Storage } from '../../storage/storage.ts'
import { scrubPosition } from '../content/keys.ts'

/** How far the current round has come. */
export interface CycleProgress {
  /** In ms since the epoch. */
  began: number
  /** The last digest that is done. */
  digest: string
  /** Bytes that were read, of `total`. */
  bytes: number
  total: number
  /** What was found and is left for people to mend. */
  damaged: number
}

/** Where the scrubbing stands; it survives a restart. */
export interface ScrubPosition {
  round?: CycleProgress
  /** The last complete round: when it began and ended, in ms since the epoch, and what it left for people to mend. */
  last?: { began: number; ended: number; damaged: number }
}

/** What a former process noted; nothing if it cannot be read. */
export async function loadScrubPosition(storage: Storage): Promise<ScrubPosition> {
  try {
    const value: unknown = JSON.parse((await storage.get(scrubPosition))?.toString() ?? '{}')
    const { round, last } = value as ScrubPosition
    return {
      ...(isRecord(round, ['began', 'bytes', 'total', 'damaged']) && typeof round.digest === 'string' ? { round } : {}),
      ...(isRecord(last, ['began', 'ended', 'damaged']) ? { last } : {})
    }
  } catch {
    return {}
  }
}

/** Notes where the scrubbing stands. A medium that takes nothing costs a restart its place, and no more. */
export async function saveScrubPosition(storage: Storage, position: ScrubPosition): Promise<void> {
  await storage.put(scrubPosition, Buffer.from(JSON.stringify(position))).catch(() => {})
}

function isRecord<T extends object>(value: T | undefined, numbers: readonly (keyof T)[]): value is T {
  return typeof value === 'object' && value !== null && numbers.every(each => typeof value[each] === 'number')
}
