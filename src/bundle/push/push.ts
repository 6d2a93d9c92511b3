import { createSemaphore } from '../../../storage/semaphore.ts'
import { eventsOf } from '../../copy/events.ts'
import type { Digest } from '../../oci/digest.ts'
import { isDenied, OciError, reasonOf } from '../../oci/errors.ts'
import type { Name } from '../../oci/name.ts'
import { type Bundle, placeText } from '../bundle.ts'
import { type BundlePlan, imageText, type PlannedImage } from '../plan.ts'
import { BundleSource } from '../source.ts'
import { type DiscoveryTag, discoveryTags, placeholderImage } from './discovery.ts'
import { ManifestPlacement, type ManifestPut } from './manifests.ts'
import { Patience } from './patience.ts'
import { type Placed, Placement, type TargetRegistry } from './placement.ts'

/** Where a bundle is pushed to. */
export interface PushTarget {
  registry: TargetRegistry
  /** The name there of the repository of a path in the bundle. */
  nameOf(path: string): Name
}

/** How a push goes about it. */
export interface PushOptions {
  /** Images, and requests about blobs, at once; a positive integer. */
  atOnce: number
  /** How long the target may be away, in ms. */
  patienceMs: number
  /** Whether other images are pushed after one failed. */
  onFailure: 'stop' | 'go on'
  /** An error in words for a person. */
  explain?: (error: unknown) => string
  signal: AbortSignal
}

/** What a push reports; `done` is the last one. Sizes are in bytes. */
export type PushEvent =
  | { type: 'image'; image: string; digest: Digest; result: 'pushed' | 'present' | 'failed'; reason?: string }
  /** A blob that neither the bundle nor the target has. */
  | { type: 'missing'; digest: Digest; size: number; images: readonly string[] }
  | { type: 'waiting'; seconds: number; reason: string }
  | { type: 'progress'; done: number; total: number; unit: 'bytes'; item: string }
  | PushDone

/** The verdict of a push. Discovery tags count as images. */
export interface PushDone {
  type: 'done'
  images: number
  pushed: number
  present: number
  failed: number
  /** Blobs that neither the bundle nor the target has. */
  missing: number
  /** Images that were not tried, after a failure or where something is missing. */
  untried: number
  /** Blobs by digest: sent, and mounted from a repository that has them. */
  sentBlobs: number
  sentBytes: number
  mountedBlobs: number
}

/**
 * Pushes the images of a bundle with everything below them: blobs first, children before their parents, tags last. What
 * the target has is passed over, so that a push can be broken off and begun again. A blob is verified on the way, and
 * its last piece is held back until it is right. Each tag is asked for after it was set. Throws the error of a target
 * that takes no push at all, before anything is sent.
 */
export async function* pushBundle(
  bundle: Bundle,
  plan: BundlePlan,
  target: PushTarget,
  options: PushOptions
): AsyncGenerator<PushEvent, void> {
  yield* eventsOf('push', options.signal, (signal, report) =>
    new BundlePush(bundle, plan, { target, options: { ...options, signal }, report }).run()
  )
}

class BundlePush {
  readonly #bundle: Bundle
  readonly #plan: BundlePlan
  readonly #target: PushTarget
  readonly #options: PushOptions
  readonly #report: (event: PushEvent) => void
  /** Aborted by the first failure, unless the others go on. */
  readonly #stopped = new AbortController()
  readonly #signal: AbortSignal
  readonly #patience: Patience
  readonly #blobs: Placement
  readonly #manifests: ManifestPlacement
  readonly #counts = { pushed: 0, present: 0, failed: 0, missing: 0, untried: 0, sentBlobs: 0, sentBytes: 0, mountedBlobs: 0 }
  readonly #finished = new Set<Digest>()
  #done = 0
  #item = ''

  constructor(
    bundle: Bundle,
    plan: BundlePlan,
    { target, options, report }: { target: PushTarget; options: PushOptions; report: (event: PushEvent) => void }
  ) {
    this.#bundle = bundle
    this.#plan = plan
    this.#target = target
    this.#options = options
    this.#report = report
    const signal = AbortSignal.any([options.signal, this.#stopped.signal])
    this.#signal = signal
    const onWait = (reason: string, ms: number) => report({ type: 'waiting', seconds: Math.ceil(ms / 1000), reason })
    const patience = new Patience({ patienceMs: options.patienceMs, signal, onWait })
    this.#patience = patience
    this.#manifests = new ManifestPlacement(target.registry, { patience, signal })
    const needing = namesByBlob(plan, target)
    this.#blobs = new Placement({
      source: new BundleSource(bundle, path => target.nameOf(path)),
      registry: target.registry,
      needing: digest => [...(needing.get(digest) ?? [])],
      sizeOf: digest => bundle.statBlob(digest)?.size,
      atOnce: options.atOnce,
      patience,
      onBytes: bytes => this.#sent(bytes),
      onPlaced: (digest, placed) => this.#placed(digest, placed),
      signal
    })
  }

  async run(): Promise<void> {
    const tags = discoveryTags(this.#bundle.repositories.keys())
    const { images } = this.#plan
    await this.#checkRights()
    await this.#checkBase()
    const permits = createSemaphore(this.#options.atOnce)
    await Promise.all(images.map(image => permits(() => this.#try(imageText(image), image.digest, () => this.#image(image)))))
    await Promise.all(tags.map(tag => permits(() => this.#discover(tag))))
    this.#options.signal.throwIfAborted()
    this.#report({ type: 'done', images: images.length + tags.length, ...this.#counts })
  }

  /** Begins a push and cancels it: a target may take none at all. */
  async #checkRights(): Promise<void> {
    const [first] = this.#plan.images
    if (!first) return
    const name = this.#target.nameOf(first.path)
    const { sink } = this.#target.registry
    const session = await this.#patience.run(() => sink.startUpload(name, undefined, this.#signal))
    await session.cancel().catch(() => {})
  }

  /** What the bundle lacks has to be there: a bundle made with `--since` counts on the one before. */
  async #checkBase(): Promise<void> {
    for (const { digest, size, images = [] } of this.#plan.lacking) {
      if (await this.#blobs.isThere(digest)) continue
      this.#counts.missing++
      this.#report({ type: 'missing', digest, size, images })
    }
    if (this.#counts.missing > 0 && this.#options.onFailure === 'stop') this.#stopped.abort(new Error('blobs are missing'))
  }

  async #try(image: string, digest: Digest, task: () => Promise<'pushed' | 'present'>): Promise<void> {
    if (this.#signal.aborted) return void this.#counts.untried++
    this.#item = image
    try {
      const result = await task()
      this.#counts[result]++
      this.#report({ type: 'image', image, digest, result })
    } catch (error) {
      // Broken off by the failure of another image.
      if (this.#signal.aborted) return void this.#counts.untried++
      this.#counts.failed++
      this.#report({ type: 'image', image, digest, result: 'failed', reason: this.#reasonOf(error) })
      // A missing right is missing for the next image too.
      if (this.#options.onFailure === 'stop' || isDenied(error)) this.#stopped.abort(error)
    }
  }

  #reasonOf(error: unknown): string {
    const { explain = reasonOf } = this.#options
    const detail =
      error instanceof OciError && error.code === 'DIGEST_INVALID' ? (error.detail as { digest?: Digest; actual?: Digest }) : {}
    const located = detail.digest && this.#bundle.locate(detail.digest)
    return located ? `${placeText(located)}: its bytes are those of ${detail.actual}` : explain(error)
  }

  async #image({ path, tag, digest, manifests, blobs, damage }: PlannedImage): Promise<'pushed' | 'present'> {
    if (damage !== undefined) throw new OciError('MANIFEST_INVALID', { detail: { reason: damage } })
    const name = this.#target.nameOf(path)
    const read = (each: Digest) => () => this.#bundle.readManifest(each)
    const results: (Placed | ManifestPut)[] = await allOf(blobs.map(each => this.#blobs.place(name, each.digest)))
    for (const each of manifests) {
      if (each === digest && tag !== undefined) continue
      results.push(await this.#manifests.place(name, each, read(each)))
    }
    if (tag !== undefined) results.push(await this.#manifests.tag(name, tag, { digest, read: read(digest) }))
    return results.every(each => each === 'present') ? 'present' : 'pushed'
  }

  async #discover(discovery: DiscoveryTag): Promise<void> {
    const { path, tag } = discovery
    const { manifest, digest, blobs } = placeholderImage(discovery)
    await this.#try(`${path}:${tag}`, digest, async () => {
      const name = this.#target.nameOf(path)
      // Whatever the tag names: d8 makes another image each time.
      if (await this.#manifests.hasTag(name, tag)) return 'present'
      for (const each of blobs) await this.#patience.run(() => this.#sendSmall(name, each))
      await this.#manifests.tag(name, tag, { digest, read: async () => manifest })
      return 'pushed'
    })
  }

  async #sendSmall(name: Name, { digest, bytes }: { digest: Digest; bytes: Buffer }): Promise<void> {
    const session = await this.#target.registry.sink.startUpload(name, undefined, this.#signal)
    const body = (async function* () {
      yield bytes
    })()
    await session.finish(digest, { body, offset: 0, length: bytes.length, signal: this.#signal })
  }

  #sent(bytes: number): void {
    this.#counts.sentBytes += bytes
    this.#progress(bytes)
  }

  #placed(digest: Digest, placed: Placed): void {
    if (placed === 'copied') this.#counts.sentBlobs++
    if (placed === 'mounted') this.#counts.mountedBlobs++
    if (placed === 'present' && !this.#finished.has(digest)) this.#progress(this.#bundle.statBlob(digest)?.size ?? 0)
    this.#finished.add(digest)
  }

  // What is sent again after a failure counts again.
  #progress(bytes: number): void {
    const total = this.#plan.bytes
    this.#done = Math.min(total, this.#done + bytes)
    this.#report({ type: 'progress', done: this.#done, total, unit: 'bytes', item: this.#item })
  }
}

/** As `Promise.all`, and rejects only when none is under way any more. */
async function allOf<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises)
  return Promise.all(promises)
}

function namesByBlob({ images }: BundlePlan, target: PushTarget): Map<Digest, Set<Name>> {
  const names = new Map<Digest, Set<Name>>()
  for (const { path, blobs } of images) {
    const name = target.nameOf(path)
    for (const { digest } of blobs) {
      const known = names.get(digest) ?? new Set()
      names.set(digest, known.add(name))
    }
  }
  return names
}
