import { parseAddress } from '../../../config/values/units.ts'
import type { Bundle } from '../../bundle/bundle.ts'
import type { BundlePlan } from '../../bundle/plan.ts'
import { type Name, parseName } from '../../oci/name.ts'
import { WrongUse } from '../run-operation.ts'
import { type MirrorContext, openBundle, printFindings } from './open.ts'

/** The flags of `mirror serve`. */
export interface ServeBundleFlags {
  file?: string[]
  listen: string
  path: string
  keepGoing?: true
}

/** Serves a bundle until the signal; what does it is given by the composition root. */
export type ServeBundle = (
  bundle: Bundle,
  plan: BundlePlan,
  options: { listen: { host: string; port: number }; path: Name }
) => Promise<AsyncDisposable & { address: string }>

/** Serves a bundle until the user interrupts the command; resolves to false for a bundle that is not sound. */
export async function serve(
  paths: readonly string[],
  { file, listen, path, keepGoing }: ServeBundleFlags,
  context: MirrorContext & { serve: ServeBundle }
): Promise<boolean> {
  const at = addressOf(listen)
  const name = parseName(path)
  await using opened = await openBundle(paths, file, context.signal)
  const lacking = opened.plan.lacking.length
  const faults = printFindings(opened, context.output) + lacking
  if (faults > 0 && !keepGoing) {
    const blobs = lacking > 0 ? `, among them ${lacking} blobs that it lacks` : ''
    throw new Error(`the bundle has ${faults} faults${blobs}, and is not served. With --keep-going it is served as it is.`)
  }
  await using _served = await context.serve(opened.bundle, opened.plan, { listen: at, path: name })
  if (!context.signal.aborted) await new Promise(resolve => context.signal.addEventListener('abort', resolve, { once: true }))
  return true
}

function addressOf(text: string): { host: string; port: number } {
  const address = parseAddress(text)
  if (address) return address
  throw new WrongUse(`--listen: expected HOST:PORT, not ${JSON.stringify(text.slice(0, 160))}`)
}
