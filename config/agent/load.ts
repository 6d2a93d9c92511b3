import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Environment, proxiesOf } from '../environment.ts'
import { freeze, typed, written } from '../read/convert.ts'
import type { Finding } from '../read/fault.ts'
import { differingSettings, ReloadPolicies } from '../read/reload-policy.ts'
import { renderSettings } from '../read/render.ts'
import { readSettings } from '../read/settings.ts'
import { readSource } from '../read/source.ts'
import { agentChecks, poolRules } from './checks.ts'
import { agentSettingsTable, compiledAgentSettings } from './compiled.ts'
import type { AgentSettings } from './schema.ts'

/** The effective configuration of the agent, frozen: see `Config`. */
export interface AgentConfig extends AgentSettings {
  /** Of the environment, for pools with imagesRepo; empty texts are absent proxies. */
  readonly proxy: { readonly http: string; readonly https: string; readonly none: string }
}

/**
 * Loads the configuration of the agent, frozen; throws a `ConfigError` with all faults. A relative file starts at
 * `cwd`.
 */
export const loadAgentConfig = (file: string, options: LoadAgentOptions = {}): AgentConfig => read(file, options).config

/** Where the proxies and a relative path come from; by default those of the process. */
export interface LoadAgentOptions {
  env?: Environment
  cwd?: string
}

/**
 * Loads the configuration of a file again and again. While the file is the same, with those that it names, it is not
 * parsed: to validate it costs more than all else that an idle agent does.
 */
export const agentLoader = (file: string, options: LoadAgentOptions = {}): (() => AgentConfig) => {
  let last: { config: AgentConfig; files: readonly string[]; digest: string; isSure: boolean } | undefined
  return () => {
    const before = last && digestOf(last.files)
    if (last?.isSure && before === last.digest) return last.config
    const { config, files } = read(file, options)
    const digest = digestOf(files)
    // What was parsed may be older than the digest, unless that was the same before.
    last = { config, files, digest, isSure: digest === before }
    return config
  }
}

const digestOf = (files: readonly string[]): string => {
  const digest = createHash('sha256')
  for (const file of files) digest.update(`${file}\n${readIfAny(file)}\n`)
  return digest.digest('hex')
}

const readIfAny = (file: string): string => {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

const read = (
  file: string,
  { env = process.env, cwd = process.cwd() }: LoadAgentOptions
): { config: AgentConfig; files: readonly string[] } => {
  const source = readSource(file, cwd)
  const { settings, files, refuse } = readSettings(compiledAgentSettings, source, poolRules)
  const config = typed(agentSettingsTable, settings, source.folder) as AgentSettings
  const findings: Finding[] = []
  // Replicas are in the own network, and a wrong variable must not keep the agent from starting.
  const beyond = config.agent.routes.some(route => route.pools.some(pool => pool.imagesRepo))
  const proxy = beyond ? proxiesOf(env, ['agent'], findings) : { http: '', https: '', none: '' }
  refuse([...findings, ...agentChecks(config)])
  return { config: freeze({ ...config, proxy }), files: [resolve(cwd, file), ...files] }
}

/** The effective configuration in YAML, secrets hidden. */
export const renderAgentConfig = (config: AgentConfig): string => renderSettings(compiledAgentSettings, settingsOf(config))

/** The settings that load to this configuration, with its secrets. */
export const settingsOf = ({ proxy: _proxy, ...config }: AgentConfig): Record<string, unknown> =>
  written(agentSettingsTable, config) as Record<string, unknown>

/** The paths of the settings that differ. */
export const agentConfigDifference = (old: AgentConfig, changed: AgentConfig): string[] =>
  differingSettings(settingsOf(old), settingsOf(changed))

const policies = new ReloadPolicies(agentSettingsTable)

/** The differing settings that only a restart can change. */
export const agentNeedsRestart = (difference: readonly string[]): string[] =>
  difference.filter(setting => policies.of(setting) === 'restart')
