import { settingsTable } from './compiled.ts'
import { differingSettings, ReloadPolicies } from './read/reload-policy.ts'
import { settingsOf } from './resolve.ts'
import type { Config } from './schema.ts'
import type { ReloadPolicy } from './sections/kinds.ts'

const policies = new ReloadPolicies(settingsTable)

/**
 * The paths of the effective settings that differ, e.g. `registry.proxy.password`. Secrets are compared and never
 * returned.
 */
export const configDifference = (old: Config, changed: Config): string[] => differingSettings(settingsOf(old), settingsOf(changed))

/** The differing settings that only a restart can change. */
export const needRestart = (difference: readonly string[]): string[] => difference.filter(setting => policies.of(setting) === 'restart')

/** Whether a change needs new backends. */
export const needBackends = (difference: readonly string[]): boolean => difference.some(setting => policies.of(setting) === 'backends')

/** The reload policy of a setting: its own in the schema, or else that of the closest section around it. */
export const reloadPolicyOf = (setting: string): ReloadPolicy => policies.of(setting)

/** The settings, or sections of them, that only a restart can change. */
export const restartRequired: readonly string[] = policies.settingsWith('restart')
