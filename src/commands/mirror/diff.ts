import { stat } from 'node:fs/promises'
import { type BundleDiffEvent, diffBundle } from '../../bundle/diff.ts'
import type { AskedRegistry } from '../../bundle/push/placement.ts'
import { BundleSource, nameBelow } from '../../bundle/source.ts'
import { type Name, parseName } from '../../oci/name.ts'
import { bytesText, plain } from '../../why/text.ts'
import { printEvents } from '../run-operation.ts'
import { adviceOn } from './advice.ts'
import { modulesAt, parseCount, parsePlace, type RegistryFlags } from './flags.ts'
import { type MirrorContext, openBundle, printFindings } from './open.ts'

/** The flags of `mirror diff`. */
export interface DiffFlags extends RegistryFlags {
  modulesPathSuffix: string
}

interface OtherSide extends AsyncDisposable {
  registry: AskedRegistry
  nameOf(path: string): Name
  explain(error: unknown): string
}

/** Compares a bundle with a registry or another bundle; resolves to whether a push would add nothing. */
export async function diff(path: string, other: string, flags: DiffFlags, context: MirrorContext): Promise<boolean> {
  const atOnce = parseCount(flags.atOnce, '--at-once', 64)
  await using opened = await openBundle([path], undefined, context.signal)
  const faults = printFindings(opened, context.output)
  await using side = await otherSide(other, flags, context)
  try {
    const events = diffBundle(opened.plan, side.registry, { nameOf: each => side.nameOf(each), atOnce, signal: context.signal })
    const last = await printEvents(events, textOf, context)
    return last?.type === 'done' && faults === 0 && last.same === last.images
  } catch (error) {
    if (context.signal.aborted) throw error
    throw new Error(side.explain(error), { cause: error })
  }
}

async function otherSide(other: string, flags: DiffFlags, context: MirrorContext): Promise<OtherSide> {
  const isPath = /^\.{0,2}\//.test(other) || (await stat(other).catch(() => undefined)) !== undefined
  if (isPath) {
    const opened = await openBundle([other], undefined, context.signal)
    const nameOf = (each: string) => nameBelow(parseName('bundle'), each)
    return {
      registry: new BundleSource(opened.bundle, nameOf),
      nameOf,
      explain: String,
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]()
    }
  }
  const { host, path } = parsePlace(other, 'the other side')
  const moved = modulesAt(flags.modulesPathSuffix)
  const registry = await context.connect(host, flags)
  return {
    registry,
    nameOf: each => nameBelow(path, moved(each)),
    explain: error => adviceOn(error, { host, login: flags.login, does: 'ask' }),
    [Symbol.asyncDispose]: () => registry.close()
  }
}

function textOf(event: BundleDiffEvent): string {
  if (event.type === 'extra') return plain(`extra       ${event.image}`)
  if (event.type === 'image') {
    const there = event.there === undefined ? '' : `: there it is ${event.there}`
    return plain(`${event.result.padEnd(10)}  ${event.image}${there}`)
  }
  const { images, same, extra, blobs, bytes } = event
  return `${images} images: ${same} are the same, ${images - same} would be pushed; ${blobs} blobs (${bytesText(bytes)}) are missing there; ${extra} tags are only there.`
}
