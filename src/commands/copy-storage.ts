import { bytesText, plain } from '../why/text.ts'
import { type CommandOutput, showing } from './output.ts'
import type { TaskEvent } from './run-operation.ts'

/** Shows how everything is copied from one storage to another; resolves to whether all of it could be. */
export async function showCopy(events: AsyncIterable<object>, screen: CommandOutput, signal: AbortSignal): Promise<boolean> {
  const show = showing(screen, textOf)
  let last: TaskEvent | undefined
  try {
    for await (const event of events) {
      last = event as TaskEvent
      show(last)
    }
  } catch (error) {
    throw signal.aborted ? new Error('it was broken off; run it again to go on', { cause: error }) : error
  } finally {
    screen.progress?.(undefined)
  }
  return last?.type === 'done' && last['damaged'] === 0
}

function textOf({ type, key, reason, copied, bytes, present, damaged }: TaskEvent): string | undefined {
  if (type === 'damaged') return `left out  ${plain(String(key))}: ${plain(String(reason))}`
  if (type !== 'done') return undefined
  const rest = Number(damaged) > 0 ? `; ${damaged} damaged blobs were left out` : ''
  return `copied ${copied} objects, ${bytesText(Number(bytes))}; ${present} were there already${rest}.`
}
