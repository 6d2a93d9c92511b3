import { dirname, resolve } from 'node:path'
import { ConfigError } from '../read/fault.ts'
import { readSettings } from '../read/settings.ts'
import { codeOf, readText } from '../read/text.ts'
import { withoutPrototype } from '../read/walk.ts'
import { compiledWanted } from './compiled.ts'
import { upstreamRules, wantedRules } from './rules.ts'
import type { WantedSettings } from './schema.ts'

/** The wanted state of a node, valid in itself: absolute paths, `users` without a prototype. */
export type Wanted = WantedSettings

const maxFileBytes = 1_048_576

/** Reads the wanted state from a file; throws a `ConfigError` with a line per fault. `now` is milliseconds. */
export const loadWanted = (file: string, now: number): Wanted => {
  try {
    return parseWanted({ file, text: readText(file, maxFileBytes), folder: dirname(resolve(file)) }, now)
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new ConfigError([{ file, line: 0, path: '', expected: `a readable file (${codeOf(error)})` }])
  }
}

/** The same from a text; relative paths in it start at `folder`. */
export const parseWanted = (source: { file: string; text: string; folder: string }, now: number): Wanted => {
  const { settings, refuse } = readSettings(compiledWanted, source, upstreamRules)
  refuse(wantedRules(settings, now))
  const { image } = settings
  return {
    ...settings,
    users: withoutPrototype(Object.entries(settings.users)),
    ...(image && { image: { ...image, ...(image.archive !== undefined && { archive: resolve(source.folder, image.archive) }) } })
  }
}
