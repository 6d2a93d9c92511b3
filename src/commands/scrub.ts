import { isName } from '../oci/name.ts'
import type { ScrubEvent, ScrubTotals } from '../operations/events.ts'
import { bytesText, plain } from '../why/text.ts'
import { subjectText } from './output.ts'
import { type CommandContext, runOperation, WrongUse } from './run-operation.ts'

/** Verifies what is stored and prints what is damaged; resolves to whether no damage is left. */
export async function scrub(name: string | undefined, context: CommandContext): Promise<boolean> {
  if (name !== undefined && !isName(name)) throw new WrongUse(`${JSON.stringify(name.slice(0, 160))} is not the name of a repository`)
  const { damaged, mended } = await runOperation(context.operations.scrub, name === undefined ? {} : { name }, textOf, context)
  return damaged === mended
}

function textOf(event: ScrubEvent): string | undefined {
  if (event.type === 'done') return doneText(event)
  if (event.type === 'progress') return undefined
  const verb = event.type === 'damaged' ? event.action : event.type
  return `${verb.padEnd(11)}  ${subjectText(event)}: ${plain(event.reason)}`
}

function doneText({ blobs, bytes, repositories, damaged, mended, warnings }: ScrubTotals): string {
  const read = `${blobs} blobs (${bytesText(bytes)}) and ${repositories} repositories were verified`
  const warned = warnings === 0 ? '' : `; ${warnings} warnings`
  if (damaged === 0) return `${read}: nothing is damaged${warned}.`
  const left = damaged - mended
  const advice = left === 0 ? 'all were repaired' : `${left} are left: push them again, or pull them through the cache`
  return `${read}: ${damaged} objects are damaged, ${advice}${warned}.`
}
