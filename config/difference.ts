import { formatPath, type Path } from './read/fault.ts'
import { isMapping } from './read/walk.ts'
import { settingsOf } from './resolve.ts'
import type { Config } from './schema.ts'

/** What a running process cannot take over from a changed file: settings, each with everything in it. */
export const restartRequired: readonly string[] = [
  'server.listen',
  'server.admin',
  'server.control',
  // Which files; what is in them is read again whenever it changes.
  'server.tls',
  'storage.filesystem',
  'storage.s3',
  'limits',
  'cache.metadataTTL'
]

/** The effective settings that differ, e.g. `registry.proxy.password`; values are compared, secrets too, and never shown. */
export const configDifference = (old: Config, changed: Config): string[] =>
  differing(settingsOf(old), settingsOf(changed), []).map(formatPath)

/** Those of the differing settings that only a restart can change. */
export const needRestart = (difference: readonly string[]): string[] =>
  difference.filter(path => restartRequired.some(setting => path === setting || path.startsWith(`${setting}.`)))

const differing = (a: unknown, b: unknown, path: Path): Path[] => {
  if (!isMapping(a) || !isMapping(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...keys].flatMap(key => differing(own(a, key), own(b, key), [...path, key]))
}

const own = (record: Record<string, unknown>, key: string): unknown => (Object.hasOwn(record, key) ? record[key] : undefined)
