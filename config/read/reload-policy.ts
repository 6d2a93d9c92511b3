import type { ReloadPolicy } from '../sections/kinds.ts'
import { formatPath, type Path } from './fault.ts'
import { isMapping, type SettingSchema } from './walk.ts'

/** The paths of the settings that differ, e.g. `registry.proxy.password`. Secrets are compared and never returned. */
export const differingSettings = (old: unknown, changed: unknown): string[] => differing(old, changed, []).map(formatPath)

/** What a running process does with a change of each setting of a schema. */
export class ReloadPolicies {
  readonly #policies: readonly { path: string; reload: ReloadPolicy }[]

  constructor(schema: SettingSchema) {
    this.#policies = policiesIn(schema, [])
  }

  /** The reload policy of a setting: its own in the schema, or else that of the closest section around it. */
  of(setting: string): ReloadPolicy {
    const around = ({ path }: { path: string }) => setting === path || setting.startsWith(`${path}.`) || setting.startsWith(`${path}[`)
    return this.#policies.findLast(around)?.reload ?? 'live'
  }

  /** The settings, or sections of them, that have a policy of their own. */
  settingsWith(policy: ReloadPolicy): string[] {
    return this.#policies.filter(({ reload }) => reload === policy).map(({ path }) => path)
  }
}

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
