import { appendPins, pinsOf } from '../operations/pin-file.ts'
import { bytesText, plain } from '../why/text.ts'
import { referencesOf } from './references.ts'
import { type CommandContext, longWork, type TaskEvent, WrongUse } from './run-operation.ts'

/** The options of `prefetch` as the command line gives them. */
export interface PrefetchFlags {
  platform?: string[]
  atOnce: string
  pin?: true
}

const platforms = /^[a-z0-9]+\/[a-z0-9_]+(\/[a-z0-9]+)?$/
const mostAtOnce = 64

/** Has the cache fetch references, and shows what became of each; resolves to whether all are stored. Those that failed are said again at the end. */
export async function prefetch(
  given: readonly string[],
  { platform = [], atOnce, pin }: PrefetchFlags,
  around: CommandContext
): Promise<boolean> {
  const wrong = platform.find(each => !platforms.test(each))
  if (wrong !== undefined)
    throw new WrongUse(`${JSON.stringify(wrong.slice(0, 160))} is not a platform such as linux/amd64 or linux/arm64/v8`)
  if (!/^[0-9]{1,2}$/.test(atOnce) || Number(atOnce) < 1 || Number(atOnce) > mostAtOnce)
    throw new WrongUse(`--at-once is a number from 1 to ${mostAtOnce}, not ${JSON.stringify(atOnce.slice(0, 160))}`)
  const references = await referencesOf(given)
  if (references.length === 0) throw new WrongUse('no reference was named: there is nothing to fetch')
  // Before anything is fetched: nothing of it is to go while the rest comes.
  if (pin) await pinAll(references, around)
  const failures: string[] = []
  const textOf = (event: TaskEvent) => referenceText(event, failures)
  const { failed } = await longWork('prefetch', { references, platforms: platform, atOnce: Number(atOnce) }, textOf, around)
  return failed === 0
}

async function pinAll(references: readonly string[], { config, output: screen }: CommandContext): Promise<void> {
  const file = config.cache.pinFile
  if (file === undefined) throw new WrongUse('--pin writes to the file that cache.pinFile names, and the configuration names none')
  const added = await appendPins(file, pinsOf(references, config))
  const event = { type: 'pinned', file, added }
  screen.print(screen.form === 'json' ? `${JSON.stringify(event)}\n` : `${added} new lines in ${file}\n`)
}

function referenceText(event: TaskEvent, failures: string[]): string | undefined {
  const { type, result, reference, blobs, fetched, bytes, reason, references } = event
  if (type === 'done') {
    const all = `${Number(references) - failures.length} of ${references} references are stored.`
    return failures.length === 0 ? all : ['', all, ...failures].join('\n')
  }
  if (type !== 'reference') return undefined
  const head = `${String(result).padEnd(7)}  ${plain(String(reference))}`
  if (result !== 'failed') return `${head}  ${fetched} of ${blobs} blobs were fetched, ${bytesText(Number(bytes))} in all`
  failures.push(`${head}: ${plain(String(reason))}`)
  return failures.at(-1)
}
