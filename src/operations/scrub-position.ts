import type { Storage } from '../../storage/storage.ts'
import { scrubPosition } from '../content/keys.ts'

/** The progress of the current scrub cycle. */
export interface CycleProgress {
  /** In ms since the epoch. */
  began: number
  /** The last digest that was verified. */
  digest: string
  /** Bytes read, of `total`. */
  bytes: number
  total: number
  /** Damaged objects that the scrub did not repair. */
  damaged: number
}

/** How far the scrub is. Stored as this JSON, so that a restart resumes it. */
export interface ScrubPosition {
  /** The current scrub cycle; `round` is its stored name. */
  round?: CycleProgress
  /**
   * The last complete cycle: when it began and ended, in ms since the epoch, and how many damaged objects were not
   * repaired.
   */
  last?: { began: number; ended: number; damaged: number }
}

/** Reads the position that a former process saved; empty if it cannot be read. */
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

/** Saves the position. After an I/O error, a restart resumes from an older position. */
export async function saveScrubPosition(storage: Storage, position: ScrubPosition): Promise<void> {
  await storage.put(scrubPosition, Buffer.from(JSON.stringify(position))).catch(() => {})
}

function isRecord<T extends object>(value: T | undefined, numbers: readonly (keyof T)[]): value is T {
  return typeof value === 'object' && value !== null && numbers.every(each => typeof value[each] === 'number')
}
