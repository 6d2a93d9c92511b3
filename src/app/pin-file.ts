import { readFile } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { createPinnedReferences, parsePins } from '../backend/pinned-references.ts'
import type { EvictPolicy } from '../content/gc/evict.ts'
import type { Logger } from '../telemetry/log.ts'

/** Resolves to what is pinned now. */
export type PinReader = () => Promise<EvictPolicy['pinned']>

/** Reads what is pinned, each time anew. While the file cannot be read its last patterns hold, and if it never could be, everything is pinned. */
export function createPinReader(settings: () => Config['cache'], log: Logger): PinReader {
  let last: { file: string; patterns: string[] } | undefined
  return async () => {
    const { pin, pinFile: file } = settings()
    if (file === undefined) return createPinnedReferences(pin)
    try {
      last = { file, patterns: parsePins(await readFile(file, 'utf8')) }
    } catch (error) {
      log.warn({ err: error, file }, 'the pins cannot be read: what they were last stays pinned')
      if (last?.file !== file) return () => true
    }
    return createPinnedReferences([...pin, ...last.patterns])
  }
}
