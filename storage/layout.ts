/** The modes of what a driver makes on a disk: its user alone may read it. What exists is left as it is. */
export const ownModes = { file: 0o600, directory: 0o700 } as const

/** Prefix of the storage's own files, beside the tree that other registries know. */
export const ownPrefix = '.registry'

/**
 * Names below that prefix that belong to the drivers; those of `src/content/keys.ts` are beside them. They are part of
 * the format on disk.
 */
export const ownNames = {
  /** The lock of the owning process. */
  lock: 'lock',
  /** The note about the owning process, for people. */
  owner: 'owner',
  /** The stored usage. */
  usage: 'account',
  /** Written to find out whether the disk answers, or whether the bucket may be written to. */
  trial: 'trial',
  /** Never there: removed to find out whether the bucket allows removals. */
  trialRemoval: 'trial-removal',
  /** Directory of objects that have no key yet. */
  temporary: 'tmp'
} as const

/** Files that the usage does not count, directly below the prefix. */
export const uncountedNames: ReadonlySet<string> = new Set([ownNames.lock, ownNames.owner, ownNames.usage, ownNames.trial])
