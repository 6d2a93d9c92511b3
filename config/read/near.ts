import { formatPath, type Path } from './fault.ts'
import type { SettingSchema } from './walk.ts'

/** The expectation at an unknown setting: the most similar setting beside it, or the place where this name is known. */
export const expectedInstead = (root: SettingSchema, parent: SettingSchema, key: string): string => {
  const known = Object.keys(parent.properties ?? {})
  const near = nearest(known, key)
  if (near) return `a known setting (did you mean ${near}?)`
  const elsewhere = pathsOf(root, key, [])[0]
  if (elsewhere) return `a known setting (did you mean ${formatPath(elsewhere)}?)`
  return `one of the settings ${known.join(', ')}`
}

/** The word most similar to `wrong`, or undefined if none is similar. */
export const nearest = (words: readonly string[], wrong: string): string | undefined => {
  // The cost is the product of both lengths, and no setting is that long.
  if (wrong.length > 64) return undefined
  const limit = Math.max(1, Math.floor(wrong.length / 3))
  return words
    .map(word => ({ word, edits: editDistance(word.toLowerCase(), wrong.toLowerCase()) }))
    .filter(({ edits }) => edits <= limit)
    .sort((a, b) => a.edits - b.edits)[0]?.word
}

const pathsOf = (schema: SettingSchema, key: string, path: Path): Path[] =>
  Object.entries(schema.properties ?? {}).flatMap(([name, inside]) => {
    const here = [...path, name]
    return [...(name === key ? [here] : []), ...pathsOf(inside, key, here)]
  })

/** Levenshtein distance: insertions, deletions and replacements that make one of the other. */
export const editDistance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
