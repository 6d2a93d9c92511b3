import { dirname, resolve } from 'node:path'
import { compiledSettings } from './compiled.ts'
import { type Environment, withProxies } from './environment.ts'
import { ConfigError, type Finding } from './read/fault.ts'
import { readSettings, type SettingsSource } from './read/settings.ts'
import { codeOf, readText } from './read/text.ts'
import { resolveSettings } from './resolve.ts'
import { crossChecks } from './rules/checks.ts'
import { moduleRules } from './rules/module.ts'
import { s3Rules } from './rules/s3.ts'
import type { Config } from './schema.ts'

/** Where the configuration comes from; everything has a default. */
export interface LoadOptions {
  /** The file of `--config`; else the one that the environment names in `REGISTRY_CONFIG`; else the defaults. */
  file?: string
  /** Default: the environment of the process, which nothing else in the program reads. */
  env?: Environment
  /** Where a relative file name starts, and without a file the paths in the defaults. */
  cwd?: string
}

const MAX_FILE = 1_048_576

/** The frozen effective configuration; throws a `ConfigError` that lists everything that is wrong with it. */
export const loadConfig = ({ file, env = process.env, cwd = process.cwd() }: LoadOptions = {}): Config => {
  // An empty variable is how many launchers say that it is unset.
  const named = file ?? (env['REGISTRY_CONFIG'] || undefined)
  const source = named === undefined ? { file: 'defaults', folder: cwd } : readSource(named, cwd)
  const { settings, refuse } = readSettings(compiledSettings, source, moduleRules, s3Rules)
  const findings: Finding[] = []
  const config = resolveSettings(withProxies(settings, env, findings), source.folder)
  refuse([...findings, ...crossChecks(settings, config)])
  return config
}

const readSource = (file: string, cwd: string): SettingsSource => {
  const absolute = resolve(cwd, file)
  try {
    return { file, text: readText(absolute, MAX_FILE), folder: dirname(absolute) }
  } catch (error) {
    throw new ConfigError([{ file, line: 0, path: '', expected: `a readable file (${codeOf(error)})` }])
  }
}
