import { isName, type Name, parseName } from '../oci/name.ts'

/**
 * The name at the upstream of a name here: `<localPrefix>[/…]` is `<upstreamPath>[/…]`, whole components only.
 * Undefined where the upstream has no such repository: outside the prefix, and the prefix itself where `upstreamPath` is empty.
 */
export function mapName(name: string, localPrefix: string, upstreamPath: string): string | undefined {
  const rest = below(name, localPrefix)
  return rest === undefined ? undefined : joined(upstreamPath, rest) || undefined
}

/** The name here of a name at the upstream, for catalogs; undefined when it is outside `upstreamPath` or could not be pulled here. */
export function unmapName(upstreamName: string, localPrefix: string, upstreamPath: string): Name | undefined {
  const rest = upstreamPath === '' ? upstreamName : below(upstreamName, upstreamPath)
  if (rest === undefined || upstreamName === '') return undefined
  const name = joined(localPrefix, rest)
  return isName(name) ? name : undefined
}

/** Under which name content of a further upstream is kept: `upstreams/<host>/<name>`; NAME_INVALID when that is too long for a name. */
export function contentName(host: string, name: Name): Name {
  return parseName(`${contentPrefix(host)}/${name}`)
}

/** The name at a further upstream of what is kept under `kept`; undefined for what is another's. */
export function nameBelow(host: string, kept: Name): Name | undefined {
  const name = below(kept, contentPrefix(host))
  return name !== undefined && isName(name) ? name : undefined
}

/** Whose content is kept under `kept`, and under which name there; undefined for what is this registry's own. */
export function hostOfContent(kept: Name): { host: string; name: string } | undefined {
  const [first, host, ...name] = kept.split('/')
  return first === upstreams && host !== undefined && name.length > 0
    ? { host: host.replaceAll('_', ':'), name: name.join('/') }
    : undefined
}

const upstreams = 'upstreams'

// A host has no underscore, so no two hosts meet here.
function contentPrefix(host: string): string {
  return `${upstreams}/${host.toLowerCase().replaceAll(':', '_')}`
}

/** What follows `prefix`: empty for the prefix itself, undefined for what is not below it. */
function below(name: string, prefix: string): string | undefined {
  if (name === prefix) return ''
  return name.startsWith(`${prefix}/`) ? name.slice(prefix.length + 1) : undefined
}

function joined(prefix: string, rest: string): string {
  return prefix && rest ? `${prefix}/${rest}` : prefix || rest
}
