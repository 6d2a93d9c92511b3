import { createSemaphore } from '../../storage/semaphore.ts'
import type { Digest } from '../oci/digest.ts'
import { found, isAbsentAtTarget } from '../oci/found.ts'
import type { Name } from '../oci/name.ts'
import { type BundlePlan, imageText, type PlannedImage } from './plan.ts'
import type { AskedRegistry } from './push/placement.ts'

/** What a comparison reports; `done` is the last one. Sizes are in bytes. */
export type BundleDiffEvent =
  | {
      type: 'image'
      image: string
      digest: Digest
      /** `changed`: the tag names `there`; `incomplete`: it names the image, of which blobs are missing. */
      result: 'same' | 'new' | 'changed' | 'incomplete'
      there?: Digest
    }
  /** A tag that only the other side has. */
  | { type: 'extra'; image: string }
  | {
      type: 'done'
      images: number
      same: number
      new: number
      changed: number
      incomplete: number
      extra: number
      blobs: number
      bytes: number
    }

/** How a bundle is compared. */
export interface DiffOptions {
  nameOf(path: string): Name
  /** Images at once. */
  atOnce: number
  signal: AbortSignal
}

const tagsPerPage = 10_000

/** Tells what a push would add to the other side, and which tags are there besides. Both sides stay as they are. */
export async function* diffBundle(plan: BundlePlan, other: AskedRegistry, options: DiffOptions): AsyncGenerator<BundleDiffEvent, void> {
  const { nameOf, atOnce, signal } = options
  const counts = { same: 0, new: 0, changed: 0, incomplete: 0, extra: 0 }
  const lacking = new Map<Digest, number>()
  const permits = createSemaphore(atOnce)
  const running = plan.images.map(image => permits(() => compare(image, { other, name: nameOf(image.path), lacking, signal })))
  for (const each of running) each.catch(() => {})
  for (const each of running) {
    const event = await each
    counts[event.result]++
    yield event
  }
  for (const path of new Set(plan.images.map(each => each.path))) {
    const known = new Set<string | undefined>(plan.images.filter(each => each.path === path).map(each => each.tag))
    for await (const tag of tagsOf(other, nameOf(path), signal)) {
      if (known.has(tag)) continue
      counts.extra++
      yield { type: 'extra', image: `${path === '' ? '.' : path}:${tag}` }
    }
  }
  const bytes = [...lacking.values()].reduce((sum, size) => sum + size, 0)
  yield { type: 'done', images: plan.images.length, ...counts, blobs: lacking.size, bytes }
}

async function compare(
  image: PlannedImage,
  { other, name, lacking, signal }: { other: AskedRegistry; name: Name; lacking: Map<Digest, number>; signal: AbortSignal }
): Promise<Extract<BundleDiffEvent, { type: 'image' }>> {
  const { tag, digest, blobs } = image
  const there = (await found(other.statManifest(name, tag === undefined ? { digest } : { tag }, signal), isAbsentAtTarget))?.value.digest
  let lacks = 0
  for (const blob of blobs) {
    if (await found(other.statBlob(name, blob.digest, signal), isAbsentAtTarget)) continue
    lacks++
    lacking.set(blob.digest, blob.size)
  }
  const about = { type: 'image' as const, image: imageText(image), digest }
  if (there === undefined) return { ...about, result: 'new' }
  if (there !== digest) return { ...about, result: 'changed', there }
  return { ...about, result: lacks > 0 ? 'incomplete' : 'same' }
}

/** The tags of a repository; none where it does not exist. */
export async function* tagsOf(registry: Pick<AskedRegistry, 'listTags'>, name: Name, signal: AbortSignal): AsyncGenerator<string, void> {
  for (let last: string | undefined; ; ) {
    const page = { n: tagsPerPage, ...(last === undefined ? {} : { last }) }
    const served = await found(registry.listTags(name, page, signal))
    yield* served?.value.items ?? []
    const next = served?.value.next
    if (next === undefined || next === last) return
    last = next
  }
}
