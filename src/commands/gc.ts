import { bytesText, plain } from '../why/text.ts'
import { subjectOf } from './output.ts'
import { type CommandContext, longWork, type TaskEvent } from './run-operation.ts'

/** The options of `gc` as the command line gives them. */
export interface GcOptions {
  /** Say what would go, and remove nothing. */
  dryRun?: true
}

/** Removes what nobody needs, and shows what went. */
export async function gc({ dryRun }: GcOptions, around: CommandContext): Promise<void> {
  let [removed, freed] = [0, 0]
  const verb = dryRun ? 'would remove' : 'removed'
  const textOf = (event: TaskEvent): string | undefined => {
    const { type, bytes, reason } = event
    if (type === 'remove') {
      removed++
      freed += Number(bytes ?? 0)
      const size = bytes === undefined ? '' : ` (${bytesText(Number(bytes))})`
      return `${verb}  ${subjectOf(event)}${size}: ${plain(String(reason))}`
    }
    return type === 'done' ? `${verb} ${removed} objects, ${bytesText(freed)}.` : undefined
  }
  await longWork('gc', { dryRun: dryRun === true }, textOf, around)
}
