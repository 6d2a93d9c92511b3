import { dirname, resolve } from 'node:path'
import { ConfigError } from './fault.ts'
import type { SettingsSource } from './settings.ts'
import { codeOf, readText } from './text.ts'

const MAX_FILE = 1_048_576

/** Reads a configuration file; a `ConfigError` if it cannot be read. A relative `file` starts at `cwd`. */
export const readSource = (file: string, cwd: string): SettingsSource & { text: string } => {
  const absolute = resolve(cwd, file)
  try {
    return { file, text: readText(absolute, MAX_FILE), folder: dirname(absolute) }
  } catch (error) {
    throw new ConfigError([{ file, line: 0, path: '', expected: `a readable file (${codeOf(error)})` }])
  }
}
