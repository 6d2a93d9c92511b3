import type { OpenObject, Storage } from '../../storage/storage.ts'
import { algorithmOf, createDigester, type Digest, emptyDigest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Name } from '../oci/name.ts'
import { createLruCache } from './lru.ts'
import type { Manifests } from './manifests.ts'

const remembered = 100_000
// A repository with more manifests than this is not read through for the sake of one blob.
const manifestsRead = 2_000

/**
 * What size a blob has to have. The layout on disk does not say, so a file that lost its end would be served as a complete answer. Sizes are known from pushes and
 * from the descriptors of manifests; a descriptor can be wrong, so a file of another size is condemned only after its digest was computed.
 */
export class Sizes {
  readonly #manifests: Manifests
  readonly #sharing: Storage['sharing']
  readonly #known = createLruCache<Digest, number>(remembered)
  readonly #read = createLruCache<Digest, true>(10_000)
  readonly #condemned = createLruCache<Digest, string>(1_000)
  readonly #learned = createLruCache<Name, Promise<void>>(1_000)

  constructor(manifests: Manifests, sharing: Storage['sharing'] = 'alone') {
    this.#manifests = manifests
    this.#sharing = sharing
  }

  /** `size` is known for certain: the bytes were verified. */
  set(digest: Digest, size: number): void {
    this.#known.set(digest, size)
    this.#condemned.delete(digest)
  }

  /** Takes the descriptors of a manifest into account. */
  learn(manifest: Digest, bytes: Uint8Array): void {
    if (this.#read.has(manifest)) return
    this.#read.set(manifest, true)
    for (const { digest, size } of readManifest(bytes)?.blobs ?? []) {
      if (!this.#known.has(digest)) this.#known.set(digest, size)
    }
  }

  /** Whether a stored object can be what `digest` says, as far as its size tells. The object stays open. */
  async plausible(name: Name, digest: Digest, object: OpenObject): Promise<boolean> {
    const expected = object.size === 0 ? this.#sizeIfEmpty(digest) : await this.#expected(name, digest)
    if (expected === undefined || expected === object.size) return true
    const state = `${object.size} ${object.modified}`
    if (this.#condemned.get(digest) === state) return false
    if ((await computeDigest(object, digest)) === digest) {
      this.set(digest, object.size)
      return true
    }
    this.#condemned.set(digest, state)
    return false
  }

  /** Whether an object of `size` can be what `digest` says, as far as is known without looking further. */
  agrees(digest: Digest, size: number): boolean {
    return size === (size === 0 ? this.#sizeIfEmpty(digest) : (this.#known.get(digest) ?? size))
  }

  /** The size of `digest`, if it is known. */
  get(digest: Digest): number | undefined {
    return this.#known.get(digest)
  }

  #sizeIfEmpty(digest: Digest): number {
    return emptyDigest[algorithmOf(digest)] === digest ? 0 : -1
  }

  async #expected(name: Name, digest: Digest): Promise<number | undefined> {
    // An object of a bucket is there as a whole or not at all: that is not worth reading all manifests through it.
    if (!this.#known.has(digest) && this.#sharing === 'alone') await this.#learnFrom(name)
    return this.#known.get(digest)
  }

  // Once per repository and process: a client that resumes after our restart asks for the blob without its manifest.
  #learnFrom(name: Name): Promise<void> {
    const running = this.#learned.get(name)
    if (running) return running
    const work = this.#readManifests(name).catch(error => {
      this.#learned.delete(name)
      throw error
    })
    this.#learned.set(name, work)
    return work
  }

  async #readManifests(name: Name): Promise<void> {
    let count = 0
    for await (const digest of this.#manifests.list(name)) {
      if (++count > manifestsRead) return
      const manifest = await this.#manifests.get(name, digest)
      if (manifest) this.learn(digest, manifest.bytes)
    }
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
