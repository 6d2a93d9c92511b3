import type { EvictPolicy } from '../content/gc/evict.ts'
import type { Name } from '../oci/name.ts'
import { hostOfContent } from './name-mapping.ts'

/**
 * Pinned content, by patterns of `<name>`, `<name>:<tag>` or `<name>@<digest>`: `*` matches within a component, `**`
 * anything.
 */
export function createPinnedReferences(patterns: readonly string[]): EvictPolicy['pinned'] {
  const all = patterns.map(expressionOf)
  if (all.length === 0) return () => false
  return (stored, reference) => namesOf(stored).some(name => all.some(each => each.test(textOf(name, reference))))
}

/** The patterns of a pin file: one a line; `#` begins a comment. */
export function parsePins(text: string): string[] {
  return text.split('\n').flatMap(line => line.replace(/(^|\s)#.*/, '').trim() || [])
}

function textOf(name: string, reference: Parameters<EvictPolicy['pinned']>[1]): string {
  if (!reference) return name
  return 'tag' in reference ? `${name}:${reference.tag}` : `${name}@${reference.digest}`
}

// The name in the storage, and for content of a namespace also `<host>/<name>` as clients write it.
function namesOf(stored: Name): string[] {
  const below = hostOfContent(stored)
  return below ? [stored, `${below.host}/${below.name}`] : [stored]
}

function expressionOf(pattern: string): RegExp {
  const parts = pattern.split(/(\*+)/).map(each => {
    if (each === '*') return '[^/:@]*'
    return /^\*+$/.test(each) ? '.*' : each.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('')}$`, 's')
}
