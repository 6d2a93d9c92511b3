import { type Clock, systemClock } from '../../storage/clock.ts'
import { createSemaphore } from '../../storage/semaphore.ts'
import type { OpenObject } from '../../storage/storage.ts'
import { algorithmOf, createDigester, type Digest, emptyDigest } from '../oci/digest.ts'
import { type ParsedManifest, readManifest } from '../oci/manifest.ts'
import type { Name } from '../oci/name.ts'
import { createLruCache } from './lru.ts'
import type { Manifests } from './manifests.ts'
import type { Coordination } from './shared/coordination.ts'

const maxSizes = 100_000
// So many manifests of a repository are read for the sake of one blob.
const maxManifests = 2_000
// Reading 2,000 manifests from a cold disk takes seconds. A request for a blob of unknown size waits no longer than
// this.
const maxWaitMs = 250
const manifestsAtOnce = 8
const repositoriesAtOnce = 2

/**
 * The size that each blob has to have. The layout on disk does not record it, so a truncated file would be served as a
 * complete response. Sizes are known from pushes and from the descriptors of manifests. A descriptor can be wrong, so a
 * file of another size becomes known-bad only after its digest was computed.
 */
export class Sizes {
  readonly #manifests: Manifests
  readonly #coordination: Pick<Coordination, 'objectsAreWhole'>
  readonly #clock: Pick<Clock, 'sleep'>
  readonly #known = createLruCache<Digest, number>(maxSizes)
  readonly #read = createLruCache<Digest, true>(10_000)
  /** Size and time of files that are known-bad. */
  readonly #bad = createLruCache<Digest, string>(1_000)
  readonly #learned = createLruCache<Name, Promise<void> | 'done'>(1_000)
  readonly #reading = createSemaphore(repositoriesAtOnce)

  constructor(manifests: Manifests, coordination: Pick<Coordination, 'objectsAreWhole'>, clock: Pick<Clock, 'sleep'> = systemClock) {
    this.#manifests = manifests
    manifests.onParsed = (digest, parsed) => this.#learnParsed(digest, parsed)
    this.#coordination = coordination
    this.#clock = clock
  }

  /** Sets the size of verified bytes. */
  set(digest: Digest, size: number): void {
    this.#known.set(digest, size)
    this.#bad.delete(digest)
  }

  /** Takes sizes from the descriptors of a manifest. It has been parsed for that, unless that was long ago. */
  learn(manifest: Digest, bytes: Uint8Array): void {
    if (!this.#read.has(manifest)) this.#learnParsed(manifest, readManifest(bytes))
  }

  #learnParsed(manifest: Digest, parsed: ParsedManifest | undefined): void {
    this.#read.set(manifest, true)
    const { blobs = [], manifests = [] } = parsed ?? {}
    // A child of an index may be a blob.
    for (const { digest, size } of [...blobs, ...manifests]) if (!this.#known.has(digest)) this.#known.set(digest, size)
  }

  /** Whether a stored object can be the blob `digest`, as far as its size is known. The object stays open. */
  async plausible(name: Name, digest: Digest, object: OpenObject): Promise<boolean> {
    const expected = object.size === 0 ? this.#sizeIfEmpty(digest) : await this.#expected(name, digest)
    if (expected === undefined || expected === object.size) return true
    const state = `${object.size} ${object.modified}`
    if (this.#bad.get(digest) === state) return false
    if ((await computeDigest(object, digest)) === digest) {
      this.set(digest, object.size)
      return true
    }
    this.#bad.set(digest, state)
    return false
  }

  /** Whether an object of `size` can be the blob `digest`, as far as this process knows without reading. */
  agrees(digest: Digest, size: number): boolean {
    return size === (size === 0 ? this.#sizeIfEmpty(digest) : (this.#known.get(digest) ?? size))
  }

  /** The size of a blob, if it is known. */
  get(digest: Digest): number | undefined {
    return this.#known.get(digest)
  }

  #sizeIfEmpty(digest: Digest): number {
    return emptyDigest[algorithmOf(digest)] === digest ? 0 : -1
  }

  async #expected(name: Name, digest: Digest): Promise<number | undefined> {
    // An object of a bucket is there as a whole or not at all: no reason to read all manifests.
    if (!this.#known.has(digest) && !this.#coordination.objectsAreWhole) await this.#learnFrom(name)
    return this.#known.get(digest)
  }

  // Once per repository and process: a client that resumes after a restart asks for the blob without its manifest. What
  // takes longer than `maxWaitMs` goes on in the background, and the blob is served unchecked meanwhile.
  async #learnFrom(name: Name): Promise<void> {
    const learning = this.#learned.get(name) ?? this.#reading(() => this.#readManifests(name))
    if (learning === 'done') return
    if (!this.#learned.has(name)) {
      this.#learned.set(name, learning)
      learning.then(
        () => this.#learned.set(name, 'done'),
        () => this.#learned.delete(name)
      )
    }
    const end = new AbortController()
    try {
      await Promise.race([learning, this.#clock.sleep(maxWaitMs, end.signal).catch(() => {})])
    } finally {
      end.abort()
    }
  }

  async #readManifests(name: Name): Promise<void> {
    let count = 0
    let batch: Digest[] = []
    const learn = async (digest: Digest) => {
      const manifest = await this.#manifests.get(name, digest)
      if (manifest) this.learn(digest, manifest.bytes)
    }
    for await (const digest of this.#manifests.list(name)) {
      if (++count > maxManifests) break
      if (batch.push(digest) < manifestsAtOnce) continue
      await Promise.all(batch.map(learn))
      batch = []
    }
    await Promise.all(batch.map(learn))
  }
}

async function computeDigest(object: OpenObject, digest: Digest): Promise<Digest> {
  const digester = createDigester(algorithmOf(digest))
  const buffer = Buffer.allocUnsafe(256 * 1024)
  let position = 0
  for (let read = -1; read !== 0; position += read) {
    read = await object.readInto(buffer, position)
    digester.update(buffer.subarray(0, read))
  }
  return digester.digest()
}
