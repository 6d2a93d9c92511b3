import type { Operation } from '../operations/operation.ts'

/** What the audit stream needs to know of an operation, and of the user on this node who started it. */
export interface OperationEntry {
  readonly action: string
  readonly actor: 'local'
  readonly [field: string]: unknown
}

/** Writes a line of the audit stream. */
export type RecordOperation = (entry: OperationEntry) => Promise<void>

/** The user on this node who started an operation. */
export interface LocalUser {
  readonly uid?: number
  /** The user behind `sudo`. */
  readonly sudoUid?: number
}

// A prefetch may have thousands of references.
const maxShown = 20

/** Passes the events of an operation on, between lines that tell that it began, and with what result it ended. */
export async function* recordedEvents<Event extends object>(
  { path, changes }: Pick<Operation, 'path' | 'changes'>,
  input: object,
  { events, record, sender }: { events: AsyncIterable<Event>; record: RecordOperation; sender: object }
): AsyncGenerator<Event, void> {
  if (!changes) return yield* events
  const about = { action: path.slice(path.lastIndexOf('/') + 1), actor: 'local', ...sender, input: shown(input) } as const
  await record({ ...about, state: 'begun' })
  let end: object = { state: 'interrupted' }
  try {
    for await (const event of events) {
      if ((event as { type?: unknown }).type === 'done') end = { state: 'done', result: event }
      yield event
    }
  } catch (error) {
    end = { state: 'failed', reason: (error as Error).message }
    throw error
  } finally {
    await record({ ...about, ...end })
  }
}

/** The user of this process. */
export function localUser(env: Readonly<Record<string, string | undefined>> = process.env): LocalUser {
  const uid = process.getuid?.()
  const sudoUid = Number.parseInt(env['SUDO_UID'] ?? '', 10)
  return { ...(uid === undefined ? {} : { uid }), ...(Number.isInteger(sudoUid) ? { sudoUid } : {}) }
}

function shown(input: object): object {
  return Object.fromEntries(
    Object.entries(input).map(([key, value]) => [
      key,
      Array.isArray(value) && value.length > maxShown ? [...value.slice(0, maxShown), `and ${value.length - maxShown} more`] : value
    ])
  )
}
