import type { SyncTree } from './ports.ts'
import type { Row, Table } from './table/table.ts'

/** What is repaired with. */
interface RepairDeps {
  /** The name of this replica. */
  name: string
  table: Table
  tree: SyncTree
  /** Whether the row is still what the table says. */
  wanted: () => boolean
}

// Those that show an earlier value of a tag say so before those that have none remove it.
const earlierAfterMs = 10_000
const removalAfterMs = 60_000

/**
 * Every peer said that it has not the content of an entry: the replica that it was pushed to has lost its disk. A tag
 * names again what it named before, and a manifest without content is removed. The new entry is the next possible one
 * after the lost one, so that any later write wins. `forMs`: for how long they have said so. Resolves to whether the
 * entry was repaired.
 */
export async function repairLost(row: Row, forMs: number, { name, table, tree, wanted }: RepairDeps): Promise<boolean> {
  const { entry } = row
  if (forMs < earlierAfterMs) return false
  if (entry.kind === 'tag') {
    const earlier = await tree.shown('tag', entry.name, entry.key)
    if (!wanted() || (earlier === undefined && forMs < removalAfterMs)) return false
    table.succeed(name, entry, earlier)
    return true
  }
  // Of links the tree tells.
  if (entry.kind === 'link') {
    table.mark(row, 'applied')
    return true
  }
  // Its tags say first what they name then.
  if (entry.kind === 'revision' && table.isTagged(entry.name, entry.key)) return false
  table.succeed(name, entry, undefined)
  return true
}
