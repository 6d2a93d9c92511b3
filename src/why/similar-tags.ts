import { editDistance } from '../../config/read/near.ts'

// The distance costs the product of both lengths.
const maxLength = 64
const maxSuggestions = 3

/** The tags that are few edits away from `wanted` or continue it, nearest first; at most three. */
export function similarTags(tags: readonly string[], wanted: string): string[] {
  if (wanted.length > maxLength) return []
  const limit = Math.max(1, Math.floor(wanted.length / 3))
  return tags
    .filter(tag => tag.length <= maxLength && tag !== wanted)
    .map(tag => ({ tag, edits: editDistance(tag.toLowerCase(), wanted.toLowerCase()) }))
    .filter(({ tag, edits }) => edits <= limit || tag.startsWith(wanted))
    .sort((one, other) => one.edits - other.edits)
    .slice(0, maxSuggestions)
    .map(({ tag }) => tag)
}
