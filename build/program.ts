import { readFileSync, writeFileSync } from 'node:fs'
import { Script } from 'node:vm'
import { crc32 } from 'node:zlib'

/** What a bundle evaluates to. */
export type Program = (require: NodeJS.Require, module: NodeJS.Module) => void

/**
 * What makes one expression of a bundle, as strict as the modules in it; its variables that come from outside become
 * parameters.
 */
export const wrapper = { before: "(function (require, module) {\n'use strict'\n", after: '\n})\n' }

/** Where the cache of a script is: its CRC, and what V8 made. */
export const cacheOf = (script: string): string => `${script}.cache`

/** Compiles a script, from its cache if that is whole and was made by the same Node; any other is passed over. */
export function compile(script: string): Script {
  // The bundle is ASCII: nothing to decode, and a byte a character in memory.
  const source = readFileSync(script, 'latin1')
  const cache = readCache(script)
  // The name for stack traces is a part of the cache, which is the same wherever the program lies.
  return new Script(source, { filename: 'program.js', ...(cache ? { cachedData: cache } : {}) })
}

/** Writes the cache of a script, with what has been compiled of it by now. */
export function writeCache(script: string, compiled: Script): void {
  writeCacheData(script, compiled.createCachedData())
}

/** Writes what V8 made as the cache of a script. */
export function writeCacheData(script: string, data: Buffer): void {
  const sum = Buffer.alloc(4)
  sum.writeUInt32LE(crc32(data))
  writeFileSync(cacheOf(script), Buffer.concat([sum, data]))
}

/** What V8 made of a script; undefined if it is absent or damaged: the start takes longer, and that is all. */
export function readCache(script: string): Buffer | undefined {
  try {
    const bytes = readFileSync(cacheOf(script))
    const data = bytes.subarray(4)
    // V8 compares versions and lengths; wrong bytes would end the process.
    return crc32(data) === bytes.readUInt32LE() ? data : undefined
  } catch {
    return undefined
  }
}
