import { type Entry, keyOf } from './entry.ts'
import type { ShownKey, SyncTree } from './ports.ts'
import type { LocalWrite, Row, Table } from './table/table.ts'

/** What a table is compared with. */
export interface ReconcileDeps {
  table: Table
  tree: SyncTree
  /** Writes entries of this replica, as of `at`. */
  write: (writes: readonly LocalWrite[], at: number) => void
  signal: AbortSignal
}

/**
 * Compares the table with the tree, after a crash or when there was no table. What the tree shows and the table does
 * not know is a write of this replica, as old as its file. What the table says and the tree does not show was never
 * acknowledged as removed: it is brought back from the peers.
 */
export async function reconcile({ table, tree, write, signal }: ReconcileDeps): Promise<void> {
  const shown = new Set<string>()
  for await (const each of tree.list()) {
    signal.throwIfAborted()
    shown.add(keyOf(each))
    await reconcileShown(each, table, tree, write)
  }
  for (const [key, row] of [...table.rows()]) {
    signal.throwIfAborted()
    const { kind, name, key: of, value } = row.entry
    if (row.state !== 'applied' || value === undefined || kind === 'link' || shown.has(key)) continue
    if ((await tree.shown(kind, name, of)) === undefined) table.mark(row, 'pending')
  }
  await table.flush()
}

async function reconcileShown(found: ShownKey, table: Table, tree: SyncTree, write: ReconcileDeps['write']): Promise<void> {
  const key = keyOf(found)
  const row = table.get(key)
  // Of a link that was collected the tree alone tells.
  if (!row && found.kind === 'link') return
  const { kind, name, key: of, modified } = found
  const value = await tree.shown(kind, name, of)
  // A change meanwhile has told the table itself.
  if (value === undefined || table.get(key) !== row) return
  if (row && isKnown(row, value)) {
    if (row.state === 'pending' && row.entry.value === value) table.mark(row, 'applied')
    return
  }
  write([{ kind, name, key: of, value }], modified)
}

function isKnown({ entry, state, older }: Row, value: Entry['value']): boolean {
  if (entry.value === value || state === 'forgetting') return true
  return state === 'pending' && value !== undefined && older.includes(value)
}
