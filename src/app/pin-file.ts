import { readFile } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { createPinnedReferences, parsePins } from '../backend/pinned-references.ts'
import type { EvictPolicy } from '../content/gc/evict.ts'
import type { Logger } from '../telemetry/log.ts'

/** Resolves to what is pinned now. */
export type PinReader = () => Promise<EvictPolicy['pinned']>

/**
 * Reads the pin file on each call. While it cannot be read its last patterns hold; until it first could be, all is
 * pinned.
 */
export function createPinReader(settings: () => Config['cache'], log: Logger): PinReader {
  let last: { file: string; patterns: string[] } | undefined
  return async () => {
    const { pin, pinFile: file } = settings()
    if (file === undefined) return createPinnedReferences(pin)
    try {
      last = { file, patterns: parsePins(await readFile(file, 'utf8')) }
    } catch (error) {
      log.warn({ err: error, file }, 'the pin file cannot be read: its last patterns stay in force')
      if (last?.file !== file) return () => true
    }
    return createPinnedReferences([...pin, ...last.patterns])
  }
}
