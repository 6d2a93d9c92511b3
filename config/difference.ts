import { settingsTable } from './compiled.ts'
import { formatPath, type Path } from './read/fault.ts'
import { isMapping, type SettingSchema } from './read/walk.ts'
import { settingsOf } from './resolve.ts'
import type { Config } from './schema.ts'
import type { ReloadPolicy } from './sections/kinds.ts'

/**
 * The paths of the effective settings that differ, e.g. `registry.proxy.password`. Secrets are compared and never
 * returned.
 */
export const configDifference = (old: Config, changed: Config): string[] =>
  differing(settingsOf(old), settingsOf(changed), []).map(formatPath)

/** The differing settings that only a restart can change. */
export const needRestart = (difference: readonly string[]): string[] => difference.filter(setting => reloadPolicyOf(setting) === 'restart')

/** Whether a change needs new backends. */
export const needBackends = (difference: readonly string[]): boolean => difference.some(setting => reloadPolicyOf(setting) === 'backends')

/** The reload policy of a setting: its own in the schema, or else that of the closest section around it. */
export const reloadPolicyOf = (setting: string): ReloadPolicy =>
  policies.findLast(({ path }) => setting === path || setting.startsWith(`${path}.`) || setting.startsWith(`${path}[`))?.reload ?? 'live'

const differing = (a: unknown, b: unknown, path: Path): Path[] => {
  if (!isMapping(a) || !isMapping(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...keys].flatMap(key => differing(own(a, key), own(b, key), [...path, key]))
}

const own = (record: Record<string, unknown>, key: string): unknown => (Object.hasOwn(record, key) ? record[key] : undefined)

// Sections come before the settings in them, so the last match is the closest.
const policiesIn = (schema: SettingSchema, path: Path): { path: string; reload: ReloadPolicy }[] => [
  ...(schema.reload ? [{ path: formatPath(path), reload: schema.reload }] : []),
  ...Object.entries(schema.properties ?? {}).flatMap(([key, inside]) => policiesIn(inside, [...path, key]))
]

const policies = policiesIn(settingsTable, [])

/** The settings, or sections of them, that only a restart can change. */
export const restartRequired: readonly string[] = policies.filter(({ reload }) => reload === 'restart').map(({ path }) => path)
