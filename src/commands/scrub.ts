import { isName } from '../oci/name.ts'
import { bytesText, plain } from '../why/text.ts'
import { subjectOf } from './output.ts'
import { type CommandContext, longWork, type TaskEvent, WrongUse } from './run-operation.ts'

/** Reads what is stored and shows what is wrong; resolves to whether nothing is left for people to mend. */
export async function scrub(name: string | undefined, around: CommandContext): Promise<boolean> {
  if (name !== undefined && !isName(name)) throw new WrongUse(`${JSON.stringify(name.slice(0, 160))} is not the name of a repository`)
  const { damaged, mended } = await longWork('scrub', name === undefined ? {} : { name }, textOf, around)
  return damaged === mended
}

function textOf(event: TaskEvent): string | undefined {
  if (event.type === 'done') return doneText(event as unknown as Totals)
  const reason = plain(String(event['reason']))
  if (event.type === 'damaged') return `${String(event['action']).padEnd(11)}  ${subjectOf(event)}: ${reason}`
  return event.type === 'warning' ? `warning      ${subjectOf(event)}: ${reason}` : undefined
}

interface Totals {
  blobs: number
  bytes: number
  repositories: number
  damaged: number
  mended: number
  warnings: number
}

function doneText({ blobs, bytes, repositories, damaged, mended, warnings }: Totals): string {
  const read = `${blobs} blobs (${bytesText(bytes)}) and ${repositories} repositories were looked at`
  const warned = warnings === 0 ? '' : `; ${warnings} warnings`
  if (damaged === 0) return `${read}: nothing is damaged${warned}.`
  const left = damaged - mended
  const advice = left === 0 ? 'all of it was mended' : `${left} are left: push them again, or pull them through the cache`
  return `${read}: ${damaged} things are damaged, ${advice}${warned}.`
}
