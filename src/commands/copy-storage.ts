import type { StorageCopyEvent } from '../operations/copy-storage.ts'
import { bytesText, plain } from '../why/text.ts'
import { type CommandContext, printEvents } from './run-operation.ts'

/** Prints how everything is copied from one storage to another; resolves to whether all of it could be. */
export async function copyStorage(
  events: AsyncIterable<StorageCopyEvent>,
  context: Pick<CommandContext, 'output' | 'signal'>
): Promise<boolean> {
  const last = await printEvents(events, textOf, context)
  return last?.type === 'done' && last.damaged === 0
}

function textOf(event: StorageCopyEvent): string | undefined {
  if (event.type === 'damaged') return `left out  ${plain(event.key)}: ${plain(event.reason)}`
  if (event.type !== 'done') return undefined
  const { copied, bytes, present, damaged } = event
  const rest = damaged > 0 ? `; ${damaged} damaged blobs were left out` : ''
  return `copied ${copied} objects, ${bytesText(bytes)}; ${present} were there already${rest}.`
}
