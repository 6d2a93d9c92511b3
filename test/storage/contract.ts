import type { Test } from 'tap'
import type { Storage } from '../../storage/storage.ts'
import { reading, walking } from './contract-reading.ts'
import { refusing, removing } from './contract-removing.ts'
import { putting, writing } from './contract-writing.ts'
import type { Kind } from './promise.ts'

/** A kind of storage: `open` gives a new, empty one, and closes it when the test ends. */
export interface Driver extends Kind {
  name: string
  open(t: Test): Promise<Storage>
}

/** What every driver has to keep; each promise starts from empty storage. */
export async function storageContract(t: Test, { name, open, step }: Driver): Promise<void> {
  for (const [title, promised] of Object.entries({ ...reading, ...putting, ...writing, ...walking, ...removing, ...refusing })) {
    await t.test(`${name}: ${title}`, async t => promised(t, await open(t), { step }))
  }
}
