import { isName } from '../../oci/name.ts'
import { type Permission, permissions } from '../grants.ts'

/** A resource and what may be done with it, as the claim `access` of a token lists it (distribution's token docs). */
export interface AccessEntry {
  readonly type: 'repository' | 'registry'
  readonly name: string
  readonly actions: readonly string[]
}

/** What a token was requested for; it never grants what its user may not do. */
export interface TokenScope {
  allows(permission: Permission, name: string): boolean
  /** Whether the catalog may be listed. */
  readonly catalog: boolean
}

// A mount needs two repositories, an operator's script some more. The text of all scopes ends up in each request.
const limits = { scopes: 16, length: 2048 }

/**
 * Parses requested scopes, each `type:name:action[,action]…`, several in one text separated by spaces. Entries that are
 * malformed or unknown here ask for nothing (they may be meant for another service); undefined if there are too many.
 */
export function parseScopes(texts: readonly string[]): AccessEntry[] | undefined {
  if (texts.reduce((sum, text) => sum + text.length, 0) > limits.length) return undefined
  const scopes = texts.flatMap(text => text.split(' ')).filter(text => text !== '')
  return scopes.length > limits.scopes ? undefined : scopes.flatMap(parseScope)
}

function parseScope(text: string): AccessEntry[] {
  const [type, name = '', list = '', ...more] = text.split(':')
  if (more.length > 0) return []
  if (type === 'registry' && name === 'catalog' && list === '*') return [{ type, name, actions: ['*'] }]
  if (type !== 'repository' || !isName(name)) return []
  const wanted = list.split(',')
  const actions = permissions.filter(each => wanted.includes(each) || wanted.includes('*'))
  return actions.length === 0 ? [] : [{ type, name, actions }]
}

/** The scope of a token by its claim `access`; nothing that the claim holds can widen it. */
export function scopeOf(access: unknown): TokenScope {
  const entries = Array.isArray(access) ? (access as Partial<AccessEntry>[]) : []
  const repositories = new Map<string, readonly string[]>()
  for (const { type, name, actions } of entries) {
    if (type !== 'repository' || typeof name !== 'string' || !Array.isArray(actions)) continue
    repositories.set(name, [...(repositories.get(name) ?? []), ...actions])
  }
  return {
    allows: (permission, name) => repositories.get(name)?.includes(permission) ?? false,
    catalog: entries.some(({ type, name }) => type === 'registry' && name === 'catalog')
  }
}

/** The scope that a request needs, for the challenge of its refusal. */
export function neededScope(permission: Permission, name: string | undefined): string {
  if (name === undefined) return 'registry:catalog:*'
  // Clients that push also ask what is there already.
  return `repository:${name}:${permission === 'push' ? 'pull,push' : permission}`
}
