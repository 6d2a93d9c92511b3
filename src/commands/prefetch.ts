import { isPlatform } from '../oci/platform.ts'
import { appendPins, pinsOf } from '../operations/pin-file.ts'
import type { PrefetchEvent } from '../operations/prefetch.ts'
import { bytesText, plain } from '../why/text.ts'
import { referencesOf } from './references.ts'
import { type CommandContext, runOperation, WrongUse } from './run-operation.ts'

/** The flags of `prefetch` as the command line gives them. */
export interface PrefetchFlags {
  platform?: string[]
  atOnce: string
  pin?: true
}

/**
 * Fetches references into the cache and prints each result; failures again at the end. Resolves to whether all are
 * stored.
 */
export async function prefetch(
  words: readonly string[],
  { platform: platforms = [], atOnce: atOnceText, pin }: PrefetchFlags,
  context: CommandContext
): Promise<boolean> {
  const wrong = platforms.find(each => !isPlatform(each))
  if (wrong !== undefined)
    throw new WrongUse(`${JSON.stringify(wrong.slice(0, 160))} is not a platform such as linux/amd64 or linux/arm64/v8`)
  const { expected, accepts } = context.operations.prefetch.input.atOnce
  const atOnce = /^[0-9]+$/.test(atOnceText) ? Number(atOnceText) : undefined
  if (atOnce === undefined || !accepts(atOnce))
    throw new WrongUse(`--at-once: expected ${expected}, not ${JSON.stringify(atOnceText.slice(0, 160))}`)
  const references = await referencesOf(words)
  if (references.length === 0) throw new WrongUse('no reference was named: there is nothing to fetch')
  // Before the first download, so that nothing is evicted while the rest is fetched.
  if (pin) await pinAll(references, context)
  const failures: string[] = []
  const { failed } = await runOperation(
    context.operations.prefetch,
    { references, platforms, atOnce },
    event => textOf(event, failures),
    context
  )
  return failed === 0
}

async function pinAll(references: readonly string[], { config, output }: CommandContext): Promise<void> {
  const file = config.cache.pinFile
  if (file === undefined) throw new WrongUse('--pin writes to the file that cache.pinFile names, and the configuration names none')
  const added = await appendPins(file, pinsOf(references, config))
  const event = { type: 'pinned', file, added }
  output.print(output.form === 'json' ? `${JSON.stringify(event)}\n` : `${added} new lines in ${file}\n`)
}

function textOf(event: PrefetchEvent, failures: string[]): string | undefined {
  if (event.type === 'progress') return undefined
  if (event.type === 'done') {
    const stored = `${event.references - failures.length} of ${event.references} references are stored.`
    return failures.length === 0 ? stored : ['', stored, ...failures].join('\n')
  }
  const { result, reference, blobs, fetched, bytes, reason } = event
  const head = `${result.padEnd(7)}  ${plain(reference)}`
  if (result !== 'failed') return `${head}  ${fetched} of ${blobs} blobs were fetched, ${bytesText(bytes)} in all`
  const failure = `${head}: ${plain(String(reason))}`
  failures.push(failure)
  return failure
}
