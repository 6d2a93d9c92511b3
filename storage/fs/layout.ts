/** Prefix of the storage's own files, beside the tree that other registries know. */
export const ownPrefix = '.registry'

/** Names below that prefix. They are part of the format on disk. */
export const ownNames = {
  /** The lock of the owning process. */
  lock: 'lock',
  /** The note about the owning process, for people. */
  owner: 'owner',
  /** The stored usage. */
  usage: 'account',
  /** Written to find out whether the disk answers. */
  trial: 'trial',
  /** Directory of objects that have no key yet. */
  temporary: 'tmp'
} as const

/** Files that the usage does not count, directly below the prefix. */
export const uncountedNames: ReadonlySet<string> = new Set([ownNames.lock, ownNames.owner, ownNames.usage, ownNames.trial])
