import { digestOf } from '../../../src/oci/digest.ts'
import { SqliteTable } from '../../../src/sync/sqlite.ts'
import { named } from '../../support/content.ts'

// Saves two rows at a time, without end, and prints how many saves were acknowledged.
const table = await SqliteTable.open(process.argv[2] ?? '', { write: task => task(), onLost: () => {}, factsOfLost: {} })
const value = digestOf(Buffer.from('x'))
for (let save = 1; ; save++) {
  const rows = ['a', 'b'].map(half => ({
    entry: { kind: 'tag' as const, name: named('some/name'), key: `v${save}${half}`, value, stamp: { time: save, count: 0 }, origin: 'm1' },
    state: 'applied' as const,
    since: save,
    older: []
  }))
  await table.save({ rows, dropped: [], facts: { saves: String(save) } })
  process.stdout.write(`${save}\n`)
}
