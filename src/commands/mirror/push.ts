import { type PushDone, type PushEvent, pushBundle } from '../../bundle/push/push.ts'
import { nameBelow } from '../../bundle/source.ts'
import { bytesText, plain } from '../../why/text.ts'
import { printEvents } from '../run-operation.ts'
import { adviceOn } from './advice.ts'
import { modulesAt, parseCount, parsePlace, type RegistryFlags } from './flags.ts'
import { calm, type MirrorContext, openBundle, printFindings } from './open.ts'

/** The flags of `mirror push`. */
export interface PushFlags extends RegistryFlags {
  to: string
  file?: string[]
  modulesPathSuffix: string
  keepGoing?: true
  patience: string
}

const maxAtOnce = 64
const maxPatienceSeconds = 86_400

/** Pushes a bundle and prints what happens; resolves to whether everything that it names is at the target. */
export async function push(paths: readonly string[], flags: PushFlags, context: MirrorContext): Promise<boolean> {
  const { host, path } = parsePlace(flags.to, '--to')
  const atOnce = parseCount(flags.atOnce, '--at-once', maxAtOnce)
  const patienceMs = parseCount(flags.patience, '--patience', maxPatienceSeconds) * 1000
  const moved = modulesAt(flags.modulesPathSuffix)
  await using opened = await openBundle(paths, flags.file, context.signal)
  const { bundle, plan } = opened
  const faults = printFindings(opened, context.output)
  if (faults > 0 && !flags.keepGoing) return refused(faults, context)
  const registry = await context.connect(host, flags)
  const explain = (error: unknown) => adviceOn(error, { host, login: flags.login, does: 'push' })
  try {
    const target = { registry, nameOf: (each: string) => nameBelow(path, moved(each)) }
    const options = {
      atOnce,
      patienceMs,
      onFailure: flags.keepGoing ? ('go on' as const) : ('stop' as const),
      explain,
      signal: context.signal
    }
    const events = calm(pushBundle(bundle, plan, target, options))
    const last = await printEvents(events, event => textOf(event, { place: flags.to, faults }), context)
    return last?.type === 'done' && faults === 0 && isComplete(last)
  } catch (error) {
    if (context.signal.aborted) throw error
    throw new Error(explain(error), { cause: error })
  } finally {
    await registry.close()
  }
}

function refused(faults: number, { output }: MirrorContext): false {
  const event = { type: 'done', result: 'refused', faults }
  const text = `Nothing was pushed: the bundle has ${faults} faults. With --keep-going the images that are sound are pushed.`
  output.print(output.form === 'json' ? `${JSON.stringify(event)}\n` : `${text}\n`)
  return false
}

function isComplete({ failed, missing, untried }: PushDone): boolean {
  return failed === 0 && missing === 0 && untried === 0
}

function textOf(event: PushEvent, about: { place: string; faults: number }): string | undefined {
  switch (event.type) {
    case 'progress':
      return undefined
    case 'waiting':
      return plain(`waiting  ${event.seconds} s: ${event.reason}`)
    case 'missing':
      return plain(
        `missing  ${event.digest} (${bytesText(event.size)}): neither the bundle nor the target has it; needed by ${event.images.join(', ')}`
      )
    case 'image':
      return plain(`${event.result.padEnd(7)}  ${event.image}${event.reason === undefined ? '' : `: ${event.reason}`}`)
    case 'done':
      return verdict(event, about)
  }
}

function verdict(done: PushDone, { place, faults }: { place: string; faults: number }): string {
  const { images, pushed, present, failed, missing, untried, sentBlobs, sentBytes, mountedBlobs } = done
  const sent = `${sentBlobs} blobs (${bytesText(sentBytes)}) were sent and ${mountedBlobs} mounted`
  const counts = `${images} images: ${pushed} pushed, ${present} were there`
  if (isComplete(done) && faults === 0) return `${counts}; ${sent}. Everything of the bundle is at ${place}.`
  const wrong = [
    [failed, 'failed'],
    [untried, 'were not tried'],
    [missing, 'blobs are missing'],
    [faults, 'faults of the bundle']
  ].flatMap(([count, what]) => (count === 0 ? [] : [`${count} ${what}`]))
  return `${counts}, ${wrong.join(', ')}; ${sent}. NOT everything of the bundle is at ${place}.`
}
