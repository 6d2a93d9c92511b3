import type { GrantSetting } from '../../config/sections/kinds.ts'
import { compileRepositoryPattern, type RepositoryPattern } from './repository-pattern.ts'

/** An operation that a role can allow; `pull` includes the catalog. */
export type Permission = 'pull' | 'push' | 'delete'

/** The repositories of one permission; `all` includes those of every upstream. */
export type GrantedRepositories = 'all' | readonly RepositoryPattern[]

/** The repositories of each permission, and whether the metrics and the status of the process may be read. */
export type Grants = Readonly<Record<Permission, GrantedRepositories>> & { readonly metrics: boolean }

/** The permissions that are for repositories. */
export const permissions: readonly Permission[] = ['pull', 'push', 'delete']

/** Compiles the grants of a role; several roles add up. */
export function compileGrants(settings: readonly GrantSetting[]): Grants {
  const granted = (permission: Permission): GrantedRepositories => {
    if (settings.includes(permission)) return 'all'
    const patterns = settings.flatMap(each => (typeof each === 'string' ? [] : (each[permission] ?? [])))
    return [...new Set(patterns)].map(compileRepositoryPattern)
  }
  return { pull: granted('pull'), push: granted('push'), delete: granted('delete'), metrics: settings.includes('metrics') }
}

/**
 * Whether the permission is granted for the repository `name` as it is addressed: of this registry, or of the upstream
 * `host` that `ns=` selects. Without a name: for any repository there.
 */
export function isGranted(grants: Grants, permission: Permission, name?: string, host?: string): boolean {
  const repositories = grants[permission]
  if (repositories === 'all') return true
  if (name !== undefined) return repositories.some(each => each.matches(name, host))
  return host === undefined ? repositories.length > 0 : repositories.some(each => each.matchesHost(host))
}

/** Whether the permission is granted for every repository of this registry or, with `host`, of that upstream. */
export function isGrantedForAll(grants: Grants, permission: Permission, host?: string): boolean {
  const repositories = grants[permission]
  return repositories === 'all' || repositories.some(each => each.matchesAll(host))
}
