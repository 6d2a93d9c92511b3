import type { Test } from 'tap'
import type { Storage } from '../../storage/storage.ts'
import { reading, walking } from './contract-reading.ts'
import { refusing, removing } from './contract-removing.ts'
import type { DriverProperties } from './contract-test.ts'
import { putting, writing } from './contract-writing.ts'

/** A driver: `open` gives new, empty storage, and closes it when the test ends. */
export interface Driver extends DriverProperties {
  name: string
  open(t: Test): Promise<Storage>
}

/** Runs the contract that every driver keeps; each test starts from empty storage. */
export async function storageContract(t: Test, { name, open, timeStepMs }: Driver): Promise<void> {
  for (const [title, run] of Object.entries({ ...reading, ...putting, ...writing, ...walking, ...removing, ...refusing })) {
    await t.test(`${name}: ${title}`, async t => run(t, await open(t), { timeStepMs }))
  }
}
