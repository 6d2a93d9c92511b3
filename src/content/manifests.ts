import { LRUCache } from 'lru-cache'
import type { Storage } from '../../storage/storage.ts'
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { inspectManifest, type ManifestDocument, type ParsedManifest } from '../oci/manifest.ts'
import type { Name } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'
import * as keys from './keys.ts'
import type { Links, ReportDamage } from './links.ts'
import type { Quarantine } from './quarantine.ts'
import { listDigests } from './walk.ts'

// A platform has some thousand manifests of about 2 KiB.
const maxCachedBytes = 32 * 1024 * 1024
// A stored manifest may have been pushed under a larger limit than the one in force. Larger bytes are no manifest.
const maxManifestBytes = 8 * 1024 * 1024

/** A manifest as a repository has it. */
export interface LinkedManifest {
  name: Name
  digest: Digest
}

/** Manifests by digest: read and verified once, then cached. */
export class Manifests {
  readonly #storage: Storage
  readonly #links: Links
  readonly #quarantine: Quarantine
  readonly #reportDamage: ReportDamage
  readonly #cache = new LRUCache<Digest, Manifest>({ maxSize: maxCachedBytes, sizeCalculation: ({ bytes }) => bytes.length + 512 })

  /** Called with what each manifest says when it is cached, so that nothing else need parse it. */
  onParsed: ((digest: Digest, parsed: ParsedManifest | undefined) => void) | undefined

  constructor(storage: Storage, links: Links, quarantine: Quarantine, reportDamage: ReportDamage) {
    this.#storage = storage
    this.#links = links
    this.#quarantine = quarantine
    this.#reportDamage = reportDamage
  }

  /** The digest that the bytes of a manifest of `name` are stored under, whether or not they are sound. */
  linked(name: Name, digest: Digest): Promise<Digest | undefined> {
    return this.#links.read(keys.revision(name, digest), digest)
  }

  /** The manifest that `name` has under `digest`. */
  async get(name: Name, digest: Digest): Promise<Manifest | undefined> {
    const target = await this.linked(name, digest)
    if (!target) return undefined
    const manifest = await this.#load(target, { name, digest })
    if (!manifest || target === digest) return manifest
    // A link of Distribution from a sha512 to the sha256 that the bytes are stored under. Cheap to verify, so it is not
    // trusted.
    if (digestOf(manifest.bytes, algorithmOf(digest)) === digest) return { ...manifest, descriptor: { ...manifest.descriptor, digest } }
    this.#reportDamage(keys.revision(name, digest), 'the link leads to other bytes than its name')
    return undefined
  }

  async #load(digest: Digest, from: LinkedManifest): Promise<Manifest | undefined> {
    if (this.#quarantine.has(digest)) {
      this.#reportDamage(keys.blob(digest), 'its bytes are known to be damaged or missing')
      return undefined
    }
    const known = this.#cache.get(digest)
    if (known) return known
    const bytes = await this.#read(digest, from)
    return bytes && this.cache(digest, bytes)
  }

  async #read(digest: Digest, from: LinkedManifest | undefined): Promise<Uint8Array | undefined> {
    const key = keys.blob(digest)
    const bytes = await this.#storage.get(key, maxManifestBytes).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EFBIG') return Buffer.alloc(0)
      throw error
    })
    if (bytes && digestOf(bytes, algorithmOf(digest)) === digest) return bytes
    // Links are removed before their bytes: a request that read the link a moment before finds no bytes, and nothing is
    // damaged.
    if (!bytes && from && (await this.#links.readCurrent(keys.revision(from.name, from.digest), from.digest)) === undefined)
      return undefined
    this.#reportDamage(key, bytes ? 'the bytes are not those of the digest' : 'a manifest has no bytes')
    return undefined
  }

  /**
   * The verified bytes of `digest`, to which the link `from` led. For a walk over all manifests: it does not fill the
   * cache, which keeps the manifests that clients pull.
   */
  async peek(digest: Digest, from?: LinkedManifest): Promise<Uint8Array | undefined> {
    return this.#cache.peek(digest)?.bytes ?? this.#read(digest, from)
  }

  /** Drops `digest` from the cache: it was removed, or is hardly read any more. */
  forget(digest: Digest): void {
    this.#cache.delete(digest)
  }

  /** Caches verified bytes; `document` if they have been parsed already. */
  cache(digest: Digest, bytes: Uint8Array, { mediaType, parsed }: ManifestDocument = inspectManifest(bytes)): Manifest {
    this.onParsed?.(digest, parsed)
    const manifest = { descriptor: { mediaType, digest, size: bytes.length }, bytes: copyOutOfPool(bytes) }
    this.#cache.set(digest, manifest)
    return manifest
  }

  /** The digests of all manifests of `name`. */
  list(name: Name): AsyncIterable<Digest> {
    return listDigests(this.#storage, keys.revisions(name))
  }
}

// Node cuts small buffers out of blocks of 64 KiB: cached as they are, each manifest would keep a whole block.
function copyOutOfPool(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength === bytes.length) return bytes
  const own = Buffer.allocUnsafeSlow(bytes.length)
  own.set(bytes)
  return own
}
