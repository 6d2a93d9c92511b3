import { createHash } from 'node:crypto'
import { compiledSettings, settingsTable } from './compiled.ts'
import { renderSettings } from './read/render.ts'
import { hideSecrets, isMapping } from './read/walk.ts'
import { settingsOf } from './resolve.ts'
import type { Config } from './schema.ts'

/** The effective configuration in YAML. It loads to the same configuration, except that secrets read `***`. */
export const renderConfig = (config: Config): string => renderSettings(compiledSettings, settingsOf(config))

/** SHA-256 in hex of the effective configuration without secrets, whatever the order of its keys. */
export const configHash = (config: Config): string => {
  const canonical = JSON.stringify(sorted(hideSecrets(settingsTable, settingsOf(config))))
  return createHash('sha256').update(canonical).digest('hex')
}

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isMapping(value)) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, inside]) => [key, sorted(inside)]))
}
