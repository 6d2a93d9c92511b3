import { compiledSettings } from './compiled.ts'
import { type Environment, withProxies } from './environment.ts'
import type { Finding } from './read/fault.ts'
import { readSettings } from './read/settings.ts'
import { readSource } from './read/source.ts'
import { resolveSettings } from './resolve.ts'
import { crossChecks } from './rules/checks.ts'
import { moduleRules } from './rules/module.ts'
import { s3Rules } from './rules/s3.ts'
import type { Config } from './schema.ts'

/** The origin of the configuration. */
export interface LoadOptions {
  /**
   * The file of `--config`. Default: the file named by `REGISTRY_CONFIG` in `env`; without it, the default settings.
   */
  file?: string
  /** Default: the environment of the process. */
  env?: Environment
  /** The folder of a relative `file`; without a file, of relative paths in the default settings. */
  cwd?: string
}

/** Loads the effective configuration, frozen; throws a `ConfigError` with all faults. */
export const loadConfig = ({ file, env = process.env, cwd = process.cwd() }: LoadOptions = {}): Config => {
  // Many launchers set a variable to an empty text to unset it.
  const named = file ?? (env['REGISTRY_CONFIG'] || undefined)
  const source = named === undefined ? { file: 'defaults', folder: cwd } : readSource(named, cwd)
  const { settings, refuse } = readSettings(compiledSettings, source, moduleRules, s3Rules)
  const findings: Finding[] = []
  const config = resolveSettings(withProxies(settings, env, findings), source.folder)
  refuse([...findings, ...crossChecks(settings, config)])
  return config
}
