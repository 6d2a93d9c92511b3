import { bytesText, plain } from '../why/text.ts'
import { subjectText } from './output.ts'
import { type CommandContext, runOperation } from './run-operation.ts'

/** The flags of `gc` as the command line gives them. */
export interface GcFlags {
  /** Print what would be removed, and remove nothing. */
  dryRun?: true
}

/** Removes unreferenced and expired content, and prints what was removed. */
export async function gc({ dryRun }: GcFlags, context: CommandContext): Promise<void> {
  let [removed, freed] = [0, 0]
  const verb = dryRun ? 'would remove' : 'removed'
  await runOperation(
    context.operations.gc,
    { dryRun: dryRun === true },
    event => {
      if (event.type === 'remove') {
        const { bytes, reason } = event
        removed++
        freed += bytes ?? 0
        return `${verb}  ${subjectText(event)}${bytes === undefined ? '' : ` (${bytesText(bytes)})`}: ${plain(reason)}`
      }
      return event.type === 'done' ? `${verb} ${removed} objects, ${bytesText(freed)}.` : undefined
    },
    context
  )
}
