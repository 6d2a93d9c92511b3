import type { EvictPolicy } from '../content/gc/evict.ts'
import type { Name } from '../oci/name.ts'
import { hostOfContent } from './name-mapping.ts'

/** What stays in the cache, as patterns of `<name>`, `<name>:<tag>` or `<name>@<digest>`: `*` is any part of one component, `**` any part at all. */
export function createPinnedReferences(patterns: readonly string[]): EvictPolicy['pinned'] {
  const all = patterns.map(expressionOf)
  if (all.length === 0) return () => false
  return (kept, reference) => namesOf(kept).some(name => all.some(each => each.test(textOf(name, reference))))
}

/** The patterns of a file: one a line, what follows `#` is a comment. */
export function parsePins(text: string): string[] {
  return text.split('\n').flatMap(line => line.replace(/(^|\s)#.*/, '').trim() || [])
}

function textOf(name: string, reference: Parameters<EvictPolicy['pinned']>[1]): string {
  if (!reference) return name
  return 'tag' in reference ? `${name}:${reference.tag}` : `${name}@${reference.digest}`
}

// As it lies here, and as the clients name what lies below the prefix of a further upstream.
function namesOf(kept: Name): string[] {
  const below = hostOfContent(kept)
  return below ? [kept, `${below.host}/${below.name}`] : [kept]
}

function expressionOf(pattern: string): RegExp {
  const parts = pattern.split(/(\*+)/).map(each => {
    if (each === '*') return '[^/:@]*'
    return /^\*+$/.test(each) ? '.*' : each.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('')}$`, 's')
}
