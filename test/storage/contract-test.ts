import { setImmediate } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Storage } from '../../storage/storage.ts'

/** What tests need to know of a driver. */
export interface DriverProperties {
  /** Times of objects that are further apart than this differ. */
  timeStepMs: number
}

/** One test of the contract; it starts from empty storage. */
export type ContractTest = (t: Test, storage: Storage, driver: DriverProperties) => Promise<void>

/** Bytes of a text. */
export const bytes = (text: string): Buffer => Buffer.from(text)

/** Turns of the event loop; a race waits for another number of them in each round. */
export const turns = async (count: number): Promise<void> => {
  for (let at = 0; at < count; at++) await setImmediate()
}
