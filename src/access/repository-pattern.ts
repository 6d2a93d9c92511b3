/** Repositories, by a pattern of their names as clients address them. */
export interface RepositoryPattern {
  /** Whether it matches a repository of this registry or, with `host`, one of the upstream that `ns=` selects. */
  matches(name: string, host?: string): boolean
  /** Whether it may match repositories of the upstream `host`. */
  matchesHost(host: string): boolean
  /** Whether it matches all repositories of this registry or, with `host`, of that upstream. */
  matchesAll(host?: string): boolean
}

/**
 * Compiles a pattern: components separated by `/`, where `*` is one component and `**`, once at most, any number of
 * them (also none). Takes time linear in the name. A wildcard never stands for the host of an upstream: a grant on what
 * an upstream publishes has to name it.
 */
export function compileRepositoryPattern(text: string): RepositoryPattern {
  const components = text.split('/')
  const gap = components.indexOf('**')
  const head = gap < 0 ? components : components.slice(0, gap)
  const tail = gap < 0 ? [] : components.slice(gap + 1)
  const matchesHost = (host: string) => head[0] === host && host !== '*'

  return {
    matches(name, host) {
      if (host !== undefined && !matchesHost(host)) return false
      const parts = host === undefined ? name.split('/') : [host, ...name.split('/')]
      const more = parts.length - head.length - tail.length
      if (gap < 0 ? more !== 0 : more < 0) return false
      return matchAt(head, parts, 0) && matchAt(tail, parts, parts.length - tail.length)
    },
    matchesHost,
    matchesAll: host => text === (host === undefined ? '**' : `${host}/**`)
  }
}

function matchAt(pattern: readonly string[], parts: readonly string[], from: number): boolean {
  return pattern.every((each, index) => each === '*' || each === parts[from + index])
}
