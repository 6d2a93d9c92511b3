import { isIP } from 'node:net'
import { compiledSettings } from './compiled.ts'
import { type Environment, withProxies } from './environment.ts'
import { ConfigError, type Finding, formatValue } from './read/fault.ts'
import { readSettings } from './read/settings.ts'
import { readSource } from './read/source.ts'
import { resolveSettings } from './resolve.ts'
import { crossChecks } from './rules/checks.ts'
import { moduleRules } from './rules/module.ts'
import { s3Rules } from './rules/s3.ts'
import type { Config, Settings } from './schema.ts'
import { formatAddress, parseAddress } from './values/units.ts'

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
  /** Replaces the hosts of `server.listen` and `server.admin`, in a file that several nodes have. */
  nodeIP?: string
}

/** Loads the effective configuration, frozen; throws a `ConfigError` with all faults. */
export const loadConfig = ({ file, env = process.env, cwd = process.cwd(), nodeIP }: LoadOptions = {}): Config => {
  // Many launchers set a variable to an empty text to unset it.
  const named = file ?? (env['REGISTRY_CONFIG'] || undefined)
  const source = named === undefined ? { file: 'defaults', folder: cwd } : readSource(named, cwd)
  const { settings: written, refuse } = readSettings(compiledSettings, source, moduleRules, s3Rules)
  const settings = nodeIP === undefined ? written : onNode(written, nodeIP)
  const findings: Finding[] = []
  const config = resolveSettings(withProxies(settings, env, findings), source.folder)
  refuse([...findings, ...crossChecks(settings, config)])
  return config
}

const onNode = (settings: Settings, nodeIP: string): Settings => {
  if (isIP(nodeIP) === 0)
    throw new ConfigError([{ file: '--node-ip', line: 0, path: '', expected: 'an IP address', value: formatValue(nodeIP) }])
  const at = (address: string) => formatAddress({ host: nodeIP, port: parseAddress(address)?.port ?? 0 })
  const { server } = settings
  return { ...settings, server: { ...server, listen: at(server.listen), admin: at(server.admin) } }
}
