import type { Clock } from '../../storage/clock.ts'
import type { ConditionalObjects, Key, VersionedObject } from '../../storage/storage.ts'

/** The objects as one process sees them. */
export interface ConditionalView extends ConditionalObjects {
  /** Called before each call and awaited; what it rejects with, the call rejects with. */
  fate: (call: 'get' | 'replace') => Promise<void>
}

/** Conditional objects in memory, dated by `clock`, for any number of processes. */
export function createConditionalObjects(
  clock: Pick<Clock, 'now'>,
  puts: 'atomic' | 'last put wins' = 'atomic'
): { view(): ConditionalView } {
  const objects = new Map<Key, VersionedObject>()
  let versions = 0
  const view = (): ConditionalView => ({
    fate: async () => {},
    isReplaceAtomic: async () => puts === 'atomic',
    now: async () => clock.now(),
    async get(key) {
      await this.fate('get')
      return objects.get(key)
    },
    async replace(key, bytes, version) {
      await this.fate('replace')
      if (puts === 'atomic' && objects.get(key)?.version !== version) return undefined
      const next = { bytes: Buffer.from(bytes), version: String(++versions), modified: clock.now() }
      objects.set(key, next)
      return next.version
    }
  })
  return { view }
}
