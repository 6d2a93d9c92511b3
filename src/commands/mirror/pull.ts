import { parseBytes } from '../../../config/values/units.ts'
import { type PullEvent, pullBundle } from '../../bundle/pull/pull.ts'
import { imagesOfRelease } from '../../bundle/pull/release.ts'
import type { WantedImage } from '../../bundle/pull/resolve.ts'
import { nameBelow, pathBelow } from '../../bundle/source.ts'
import { reasonOf } from '../../oci/errors.ts'
import { isTag, type Name } from '../../oci/name.ts'
import { isPlatform } from '../../oci/platform.ts'
import { parsePodReference } from '../../oci/pod-reference.ts'
import { bytesText, plain } from '../../why/text.ts'
import { referencesOf } from '../references.ts'
import { printEvents, WrongUse } from '../run-operation.ts'
import { adviceOn } from './advice.ts'
import { parseCount, parsePlace, type RegistryFlags, type RegistryPlace } from './flags.ts'
import { type ConnectedRegistry, calm, type MirrorContext, openBundle } from './open.ts'

/** The flags of `mirror pull`. */
export interface PullFlags extends RegistryFlags {
  from: string
  output: string
  release?: string[]
  chunkSize?: string
  since?: string
  platform?: string[]
  referrers: boolean
  patience: string
}

/** Writes images into the archives of a bundle; resolves to whether everything that was named is there. */
export async function pull(words: readonly string[], flags: PullFlags, context: MirrorContext): Promise<boolean> {
  const { output: folder, platform: platforms = [], release = [], since } = flags
  const place = parsePlace(flags.from, '--from')
  const atOnce = parseCount(flags.atOnce, '--at-once', 64)
  const patienceMs = parseCount(flags.patience, '--patience', 86_400) * 1000
  const chunkBytes = chunkSizeOf(flags.chunkSize)
  const wrong = platforms.find(each => !isPlatform(each)) ?? release.find(each => !isTag(each))
  if (wrong !== undefined)
    throw new WrongUse(`${JSON.stringify(wrong.slice(0, 160))} is no platform (linux/amd64) and no release (v1.70.0)`)
  const listed = (await referencesOf(words)).map(text => wantedOf(text, place))
  if (listed.length + release.length === 0) throw new WrongUse('nothing was named: give references, a file of them, or --release')
  await using base = since === undefined ? undefined : await openBundle([since], undefined, context.signal)
  const source = await context.connect(place.host, flags)
  const explain = (error: unknown) => adviceOn(error, { host: place.host, login: flags.login, does: 'ask' })
  try {
    const wanted = distinct([...listed, ...(await releasesOf(source, place.path, release, context.signal))])
    const events = pullBundle(wanted, {
      source,
      from: flags.from,
      folder,
      chunkBytes,
      platforms,
      referrers: flags.referrers ? 'take' : 'leave',
      since: base?.bundle,
      atOnce,
      patienceMs,
      explain,
      signal: context.signal
    })
    const last = await printEvents(calm(events), event => textOf(event, folder), context)
    return last?.type === 'done' && last.failed === 0
  } catch (error) {
    if (context.signal.aborted) throw error
    throw new Error(explain(error), { cause: error })
  } finally {
    await source.close()
  }
}

async function releasesOf(source: ConnectedRegistry, root: Name, releases: readonly string[], signal: AbortSignal): Promise<WantedImage[]> {
  const lists = await Promise.all(releases.filter(isTag).map(tag => imagesOfRelease(source, root, { tag, signal })))
  return lists.flat()
}

/** A reference below the root (`install:v1.70.0`, `:v1.70.0`, `@sha256:…`), or a whole one that begins with it. */
function wantedOf(text: string, { host, path: root }: RegistryPlace): WantedImage {
  const [first = ''] = text.split('/')
  const isElsewhere = text.includes('/') && /[.:]/.test(first) && first !== host
  if (isElsewhere) throw new WrongUse(`${JSON.stringify(text.slice(0, 300))} is of ${first}, and --from names ${host}`)
  const whole = text.startsWith(`${host}/`) ? text : `${host}/${root}${/^[:@]/.test(text) ? '' : '/'}${text}`
  try {
    const { name, reference } = parsePodReference(whole)
    const path = pathBelow(root, name)
    if (path === undefined) throw new Error(`it is not below ${host}/${root}`)
    return { path, name: nameBelow(root, path), reference }
  } catch (error) {
    throw new WrongUse(`${JSON.stringify(text.slice(0, 300))}: ${reasonOf(error)}`)
  }
}

function distinct(images: readonly WantedImage[]): WantedImage[] {
  return [...new Map(images.map(each => [`${each.name} ${each.reference.digest ?? each.reference.tag}`, each])).values()]
}

const minChunkBytes = 64 * 1024

function chunkSizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const bytes = /^[0-9]+GB$/.test(text) ? Number.parseInt(text, 10) * 1e9 : parseBytes(text)
  if (bytes !== undefined && bytes >= minChunkBytes) return bytes
  throw new WrongUse(`--chunk-size: expected a size from 64KiB on, such as 4GB or 2GiB, not ${JSON.stringify(text.slice(0, 160))}`)
}

function textOf(event: PullEvent, folder: string): string | undefined {
  switch (event.type) {
    case 'progress':
      return undefined
    case 'waiting':
      return plain(`waiting  ${event.seconds} s: ${event.reason}`)
    case 'image':
      return plain(`${event.result.padEnd(7)}  ${event.image}: ${event.reason}`)
    case 'archive':
      return `${event.result.padEnd(7)}  ${event.archive} (${bytesText(event.size)})`
    case 'done': {
      const { images, failed, archives, bytes, fetchedBlobs, fetchedBytes, presentBlobs, leftOut } = event
      if (failed > 0) return `${failed} of ${images} references cannot be resolved. Nothing was written.`
      const parts = `${fetchedBlobs} blobs (${bytesText(fetchedBytes)}) were fetched, ${presentBlobs} were there, ${leftOut} are in the bundle before`
      return `${images} references in ${archives} archives (${bytesText(bytes)}); ${parts}. Everything that was named is in ${folder}.`
    }
  }
}
