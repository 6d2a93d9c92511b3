import type { PurgeEvent } from '../operations/purge.ts'
import { MalformedTarget, parseTarget } from '../operations/purge-target.ts'
import { subjectText } from './output.ts'
import { type CommandContext, runOperation, WrongUse } from './run-operation.ts'

/** The flags of `purge` as the command line gives them. */
export interface PurgeFlags {
  /** Remove pushed content too. */
  yes?: true
}

/** Removes a repository, a tag or a digest, and prints what was removed. */
export async function purge(target: string, { yes }: PurgeFlags, context: CommandContext): Promise<void> {
  try {
    parseTarget(target)
  } catch (error) {
    throw error instanceof MalformedTarget ? new WrongUse(error.message) : error
  }
  try {
    await runOperation(context.operations.purge, { target, pushed: yes ? 'included' : 'refused' }, textOf, context)
  } catch (error) {
    const { name, message } = error as Error
    throw name === 'PushedContent' ? new WrongUse(message) : error
  }
}

function textOf(event: PurgeEvent): string {
  if (event.type === 'removed') return `removed  ${subjectText(event)}`
  const { tags, manifests, blobs } = event
  return `${tags} tags, ${manifests} manifests and ${blobs} blobs were removed; their bytes go with the next garbage collection, unless others need them.`
}
