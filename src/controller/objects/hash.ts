import { createHash } from 'node:crypto'

/**
 * SHA-256, in lower-case hex, over the JSON of the values as Go's encoding/json writes it: keys of maps sorted by the
 * caller's type, `<`, `>` and `&` escaped. So a version computed here is the one that Deckhouse's hooks compute.
 */
export function hashOf(...values: readonly unknown[]): string {
  const hash = createHash('sha256')
  for (const value of values) hash.update(goJson(value))
  return hash.digest('hex')
}

/** JSON as Go's encoding/json writes it (package documentation, "Marshal"). */
export function goJson(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, each => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const shortLength = 15

/** A version as messages show it: the first 15 characters and an ellipsis. */
export function shortened(version: string): string {
  return version.length > shortLength ? `${version.slice(0, shortLength)}…` : version
}
