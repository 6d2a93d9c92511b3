import { readFileSync } from 'node:fs'
import { Script } from 'node:vm'

/** What a bundle evaluates to. */
export type Program = (require: NodeJS.Require, module: NodeJS.Module) => void

/** What makes one expression of a bundle; its variables that come from outside become parameters. */
export const wrapper = { before: '(function (require, module) {\n', after: '\n})\n' }

/** Where the cache of a script is. */
export const cacheOf = (script: string): string => `${script}.cache`

/** Compiles a script, from its cache if that was made by the same Node; any other is passed over. */
export function compile(script: string): Script {
  // The bundle is ASCII: nothing to decode, and a byte a character in memory.
  const source = readFileSync(script, 'latin1')
  const cache = read(cacheOf(script))
  return new Script(source, { filename: script, ...(cache ? { cachedData: cache } : {}) })
}

function read(file: string): Buffer | undefined {
  try {
    return readFileSync(file)
  } catch {
    // Without it the start takes longer, and that is all.
    return undefined
  }
}
