import { Bundle } from '../../bundle/bundle.ts'
import type { BundleFault } from '../../bundle/faults.ts'
import { faultText } from '../../bundle/faults.ts'
import { type BundlePlan, planOf } from '../../bundle/plan.ts'
import type { TargetRegistry } from '../../bundle/push/placement.ts'
import { findingsOf } from '../../bundle/verify.ts'
import type { Source } from '../../oci/source.ts'
import { atMostEvery } from '../../operations/events.ts'
import { plain } from '../../why/text.ts'
import type { CommandOutput } from '../output.ts'
import type { RegistryFlags } from './flags.ts'

/** A connection to another registry. */
export interface ConnectedRegistry extends Source, TargetRegistry {
  close(): Promise<void>
}

/** What the commands of `registry mirror` are given. */
export interface MirrorContext {
  output: CommandOutput
  /** Aborted when the user interrupts the command. */
  signal: AbortSignal
  connect(host: string, flags: RegistryFlags): Promise<ConnectedRegistry>
}

/** A bundle with its plan; its owner closes the bundle. */
export interface OpenedBundle extends AsyncDisposable {
  bundle: Bundle
  plan: BundlePlan
}

/** Opens a bundle and reads its manifests. */
export async function openBundle(
  paths: readonly string[],
  only: readonly string[] | undefined,
  signal: AbortSignal
): Promise<OpenedBundle> {
  const bundle = await Bundle.open({ paths, only, signal })
  try {
    return { bundle, plan: await planOf(bundle, signal), [Symbol.asyncDispose]: () => bundle[Symbol.asyncDispose]() }
  } catch (error) {
    await bundle[Symbol.asyncDispose]()
    throw error
  }
}

/** Prints what is wrong with a bundle and what is unusual; gives the number of faults. */
export function printFindings({ bundle, plan }: OpenedBundle, { form, print }: CommandOutput): number {
  const findings = findingsOf(bundle, plan)
  for (const each of findings) print(form === 'json' ? `${JSON.stringify(each)}\n` : `${findingText(each)}\n`)
  return findings.filter(each => each.type === 'fault').length
}

/** A finding in one line. */
export function findingText({ type, ...about }: { type: 'fault' | 'notice' } & BundleFault): string {
  return plain(`${type.padEnd(7)}  ${faultText(about)}`)
}

/** Events with at most one of progress a second. */
export async function* calm<Event extends { type: string }>(events: AsyncIterable<Event>): AsyncGenerator<Event, void> {
  const isDue = atMostEvery(1_000, () => performance.now())
  for await (const event of events) if (event.type !== 'progress' || isDue()) yield event
}
