import { MalformedTarget, parseTarget } from '../operations/purge-target.ts'
import { subjectOf } from './output.ts'
import { type CommandContext, longWork, type TaskEvent, WrongUse } from './run-operation.ts'

/** The options of `purge` as the command line gives them. */
export interface PurgeOptions {
  /** What was pushed may go as well. */
  yes?: true
}

/** Takes away a repository, a tag or a digest, and shows what went. */
export async function purge(target: string, { yes }: PurgeOptions, around: CommandContext): Promise<void> {
  try {
    parseTarget(target)
  } catch (error) {
    throw error instanceof MalformedTarget ? new WrongUse(error.message) : error
  }
  try {
    await longWork('purge', { target, pushed: yes ? 'included' : 'refused' }, textOf, around)
  } catch (error) {
    const { name, message } = error as Error
    throw name === 'PushedContent' ? new WrongUse(message) : error
  }
}

function textOf(event: TaskEvent): string | undefined {
  if (event.type === 'removed') return `removed  ${subjectOf(event)}`
  if (event.type !== 'done') return undefined
  const { tags, manifests, blobs } = event
  return `${tags} tags, ${manifests} manifests and ${blobs} blobs were removed; their bytes go with the next garbage collection, unless others need them.`
}
