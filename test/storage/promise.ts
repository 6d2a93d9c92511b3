import { setImmediate } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Storage } from '../../storage/storage.ts'

/** What a kind of storage is like. */
export interface Kind {
  /** In ms: times of objects that are further apart than this differ. */
  step: number
}

/** One promise of a storage; it starts from empty storage. */
export type Promised = (t: Test, storage: Storage, kind: Kind) => Promise<void>

/** Bytes of a text. */
export const bytes = (text: string): Buffer => Buffer.from(text)

/** Lets others run in between; a race tries it with another count in each round. */
export const turns = async (count: number): Promise<void> => {
  for (let at = 0; at < count; at++) await setImmediate()
}
