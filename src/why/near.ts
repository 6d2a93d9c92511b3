const longest = 64
const most = 3

/** The words that are few edits away from `wanted` or go on where it ends, nearest first; at most three. */
export function similarTags(words: readonly string[], wanted: string): string[] {
  // The distance costs the product of both lengths.
  if (wanted.length > longest) return []
  const limit = Math.max(1, Math.floor(wanted.length / 3))
  return words
    .filter(word => word.length <= longest && word !== wanted)
    .map(word => ({ word, edits: distance(word.toLowerCase(), wanted.toLowerCase()) }))
    .filter(({ word, edits }) => edits <= limit || word.startsWith(wanted))
    .sort((one, other) => one.edits - other.edits)
    .slice(0, most)
    .map(({ word }) => word)
}

function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at)
  for (let at = 1; at <= one.length; at++) {
    const next = [at]
    for (let to = 1; to <= other.length; to++) {
      const replaced = (row[to - 1] ?? 0) + (one[at - 1] === other[to - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[to] ?? 0) + 1, (next[to - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[other.length] ?? 0
}
