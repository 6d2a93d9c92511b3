/** A parsed value that validation has already proved to be there. */
export const valid = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('settings are resolved only after they were validated')
  return value
}

/** A record without a prototype: a user or a host may be called "constructor", and must not find anything there. */
export const withoutPrototype = <T>(entries: Iterable<readonly [string, T]>): Record<string, T> => {
  const bare: Record<string, T> = Object.create(null)
  for (const [key, value] of entries) bare[key] = value
  return bare
}
