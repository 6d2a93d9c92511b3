import { readFile, writeFile } from 'node:fs/promises'
import { executePrune, type PruneEvent } from '../../bundle/prune/execute.ts'
import { planPrune } from '../../bundle/prune/plan.ts'
import { PlanFault, type PrunePlan, parsePlan, planText } from '../../bundle/prune/plan-file.ts'
import { isTag } from '../../oci/name.ts'
import { plain } from '../../why/text.ts'
import { printEvents, WrongUse } from '../run-operation.ts'
import { adviceOn } from './advice.ts'
import { parseCount, parsePlace, type RegistryFlags } from './flags.ts'
import type { ConnectedRegistry, MirrorContext } from './open.ts'

/** The flags of `mirror prune`. */
export interface PruneFlags extends RegistryFlags {
  keep?: string[]
  plan?: string
  execute?: string
}

/** Writes a plan of what goes, or executes one; resolves to whether all of it was done. */
export async function prune(place: string, flags: PruneFlags, context: MirrorContext): Promise<boolean> {
  const { host, path } = parsePlace(place, 'the registry')
  parseCount(flags.atOnce, '--at-once', 64)
  const { keep = [], plan, execute } = flags
  if ((plan === undefined) === (execute === undefined)) throw new WrongUse('give either --keep with --plan FILE, or --execute FILE')
  if (plan !== undefined && keep.length === 0) throw new WrongUse('--plan needs --keep: name the releases that stay')
  const wrong = keep.find(each => !isTag(each))
  if (wrong !== undefined) throw new WrongUse(`--keep: ${JSON.stringify(wrong.slice(0, 160))} is no release, such as v1.70.0`)
  const registry = await context.connect(host, flags)
  const explain = (error: unknown) => adviceOn(error, { host, login: flags.login, does: 'remove' })
  const about = { place: `${host}/${path}`, path, registry, explain }
  try {
    return execute === undefined ? await writePlan(plan ?? '', keep, about, context) : await executePlan(execute, about, context)
  } catch (error) {
    if (context.signal.aborted || error instanceof WrongUse) throw error
    throw new Error(explain(error), { cause: error })
  } finally {
    await registry.close()
  }
}

interface About {
  place: string
  path: ReturnType<typeof parsePlace>['path']
  registry: ConnectedRegistry
  explain(error: unknown): string
}

async function writePlan(
  file: string,
  keep: readonly string[],
  { place, path, registry }: About,
  { output, signal }: MirrorContext
): Promise<boolean> {
  const tags = keep.filter(isTag)
  const { removals, stays } = await planPrune(registry, path, { keep: tags, signal })
  // A plan that was read and shortened is not overwritten.
  await writeFile(file, planText({ place, removals }, { keep: tags, stays }), { flag: 'wx' })
  const event = { type: 'planned', file, removals: removals.length, stays }
  const text = `${removals.length} tags would go and ${stays} stay. Nothing was removed. Read ${file}, then run this with --execute ${file}.`
  output.print(output.form === 'json' ? `${JSON.stringify(event)}\n` : `${text}\n`)
  return true
}

async function executePlan(file: string, { place, path, registry, explain }: About, context: MirrorContext): Promise<boolean> {
  const plan = planOf(file, await readFile(file, 'utf8'))
  if (plan.place !== place) throw new WrongUse(`${file} is a plan for ${plan.place}, not for ${place}`)
  const last = await printEvents(executePrune(registry, path, plan, { explain, signal: context.signal }), textOf, context)
  return last?.type === 'done' && last.failed === 0 && last.changed === 0
}

function planOf(file: string, text: string): PrunePlan {
  try {
    return parsePlan(text)
  } catch (error) {
    throw error instanceof PlanFault ? new WrongUse(`${file}: ${error.message}`) : error
  }
}

function textOf(event: PruneEvent): string {
  if (event.type === 'tag') return plain(`${event.result.padEnd(7)}  ${event.tag}${event.reason === undefined ? '' : `: ${event.reason}`}`)
  const { removed, absent, changed, failed } = event
  return `${removed} tags were removed, ${absent} were gone before; ${changed} name something else now and stay, ${failed} failed.`
}
