import type { Finding, Path } from '../read/fault.ts'
import { formatPath } from '../read/fault.ts'
import { isMapping } from '../read/walk.ts'
import { parseDuration } from '../values/units.ts'

const LEAST_TTL = 300_000

/** The rules between settings of ModuleConfig `deckhouse`, in its own words; `value` may be invalid in other ways. */
export const moduleRules = (value: unknown): Finding[] => {
  const registry = isMapping(value) ? value['registry'] : undefined
  if (!isMapping(registry)) return []
  const { mode, direct, proxy, unmanaged, upstreams } = registry
  const further = isMapping(upstreams) ? Object.entries(upstreams) : []
  return [
    ...sections(registry, mode),
    ...upstreamRules(direct, ['registry', 'direct']),
    ...upstreamRules(proxy, ['registry', 'proxy']),
    ...upstreamRules(unmanaged, ['registry', 'unmanaged']),
    ...further.flatMap(([host, upstream]) => accountRules(upstream, ['registry', 'upstreams', host]))
  ]
}

// The mode that each section belongs to.
const owners = { direct: 'Direct', proxy: 'Proxy', unmanaged: 'Unmanaged' }
const modes: readonly unknown[] = ['Direct', 'Proxy', 'Local', 'Unmanaged']

const sections = (registry: Record<string, unknown>, mode: unknown): Finding[] => {
  if (!modes.includes(mode)) return []
  return Object.entries(owners).flatMap(([section, owner]) => {
    const rule = (when: string, what: string) => [
      broken(['registry', section], `registry: when mode is ${when}'${owner}', '${section}' section must be ${what}.`)
    ]
    const given = Object.hasOwn(registry, section)
    if (mode !== owner && given) return rule('not ', 'omitted')
    return mode === owner && !given && owner !== 'Unmanaged' ? rule('', 'specified') : []
  })
}

const upstreamRules = (upstream: unknown, path: Path): Finding[] => {
  if (!isMapping(upstream)) return []
  const { imagesRepo, ttl } = upstream
  const age = typeof ttl === 'string' ? parseDuration(ttl) : undefined
  return [
    ...(imagesRepo === '' || imagesRepo === null ? [inside(path, 'imagesRepo', "'imagesRepo' is required.")] : []),
    ...(age !== undefined && age < LEAST_TTL ? [inside(path, 'ttl', "'ttl' should be at least 5 minutes.")] : []),
    ...accountRules(upstream, path)
  ]
}

/** The rules between the settings of the account at an upstream; it may be invalid in other ways. */
export const accountRules = (upstream: unknown, path: Path): Finding[] => {
  if (!isMapping(upstream)) return []
  // Templates write an empty text for an absent setting.
  const has = (setting: string): boolean => Object.hasOwn(upstream, setting) && upstream[setting] !== ''
  const [license, username, password] = [has('license'), has('username'), has('password')]
  return [
    ...(username && !password ? [inside(path, 'password', "'password' is required when 'username' is provided.")] : []),
    ...(password && !username ? [inside(path, 'username', "'username' is required when 'password' is provided.")] : []),
    ...(license && (username || password) ? [inside(path, 'license', "'license' and 'username'/'password' are mutually exclusive.")] : []),
    ...(has('ca') && upstream['scheme'] === 'HTTP' ? [inside(path, 'ca', "CA is not allowed when scheme is 'HTTP'")] : [])
  ]
}

const inside = (path: Path, setting: string, rule: string): Finding => broken([...path, setting], `${formatPath(path)}: ${rule}`)

const broken = (path: Path, rule: string): Finding => ({ path, expected: '', rule })
