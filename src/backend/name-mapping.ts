import { isName, type Name, parseName } from '../oci/name.ts'

/**
 * The upstream's name for a name here: `<localPrefix>[/…]` is `<upstreamPath>[/…]`, by whole components. Undefined
 * outside of the prefix, and for the prefix itself if `upstreamPath` is empty.
 */
export function mapName(name: string, localPrefix: string, upstreamPath: string): string | undefined {
  const rest = below(name, localPrefix)
  return rest === undefined ? undefined : joined(upstreamPath, rest) || undefined
}

/**
 * The name here for an upstream's name, for catalogs; undefined outside of `upstreamPath`, or if it is no valid name
 * here.
 */
export function unmapName(upstreamName: string, localPrefix: string, upstreamPath: string): Name | undefined {
  const rest = upstreamPath === '' ? upstreamName : below(upstreamName, upstreamPath)
  if (rest === undefined || upstreamName === '') return undefined
  const name = joined(localPrefix, rest)
  return isName(name) ? name : undefined
}

/**
 * The name under which content of a namespace is stored: `upstreams/<host>/<name>`; NAME_INVALID if that is too long.
 */
export function contentName(host: string, name: Name): Name {
  return parseName(`${contentPrefix(host)}/${name}`)
}

/**
 * The name in the namespace `host` of content that is stored under `stored`; undefined for content that is not of that
 * namespace.
 */
export function nameBelow(host: string, stored: Name): Name | undefined {
  const name = below(stored, contentPrefix(host))
  return name !== undefined && isName(name) ? name : undefined
}

/**
 * The namespace of content that is stored under `stored`, and its name there; undefined for this registry's own
 * content.
 */
export function hostOfContent(stored: Name): { host: string; name: string } | undefined {
  const [first, host, ...name] = stored.split('/')
  return first === upstreams && host !== undefined && name.length > 0
    ? { host: host.replaceAll('_', ':'), name: name.join('/') }
    : undefined
}

const upstreams = 'upstreams'

// A host has no underscore, so two hosts never have the same prefix.
function contentPrefix(host: string): string {
  return `${upstreams}/${host.toLowerCase().replaceAll(':', '_')}`
}

/** The rest of `name` after `prefix`: empty for the prefix itself, undefined if it is not below it. */
function below(name: string, prefix: string): string | undefined {
  if (name === prefix) return ''
  return name.startsWith(`${prefix}/`) ? name.slice(prefix.length + 1) : undefined
}

function joined(prefix: string, rest: string): string {
  return prefix && rest ? `${prefix}/${rest}` : prefix || rest
}
