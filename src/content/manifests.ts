import { LRUCache } from 'lru-cache'
import type { Storage } from '../../storage/storage.ts'
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { mediaTypeOf } from '../oci/manifest.ts'
import type { Name } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'
import * as keys from './keys.ts'
import type { Links, ReportDamage } from './links.ts'
import type { Quarantine } from './quarantine.ts'
import { listDigests } from './walk.ts'

// Bytes of manifests kept in memory; a platform has some thousand of about 2 KiB.
const remembered = 32 * 1024 * 1024
// What is stored may have been pushed under a larger limit than the one in force; past this it is no manifest.
const longest = 8 * 1024 * 1024

/** That `name` has a manifest. */
export interface LinkedManifest {
  name: Name
  digest: Digest
}

/** Manifests by digest: read and verified once, then from memory. */
export class Manifests {
  readonly #storage: Storage
  readonly #links: Links
  readonly #quarantine: Quarantine
  readonly #reportDamage: ReportDamage
  readonly #cache = new LRUCache<Digest, Manifest>({ maxSize: remembered, sizeCalculation: ({ bytes }) => bytes.length + 512 })

  constructor(storage: Storage, links: Links, quarantine: Quarantine, damaged: ReportDamage) {
    this.#storage = storage
    this.#links = links
    this.#quarantine = quarantine
    this.#reportDamage = damaged
  }

  /** The digest under which a manifest of `name` lies, whether or not its bytes are sound. */
  linked(name: Name, digest: Digest): Promise<Digest | undefined> {
    return this.#links.read(keys.revision(name, digest), digest)
  }

  /** The manifest that `name` has under `digest`. */
  async get(name: Name, digest: Digest): Promise<Manifest | undefined> {
    const target = await this.linked(name, digest)
    if (!target) return undefined
    const manifest = await this.#load(target, { name, digest })
    if (!manifest || target === digest) return manifest
    // Distribution's link from a sha512 to the sha256 under which it lies: cheap to verify, so nothing is taken on trust.
    if (digestOf(manifest.bytes, algorithmOf(digest)) === digest) return { ...manifest, descriptor: { ...manifest.descriptor, digest } }
    this.#reportDamage(keys.revision(name, digest), 'the link leads to other bytes than its name')
    return undefined
  }

  async #load(digest: Digest, from: LinkedManifest): Promise<Manifest | undefined> {
    if (this.#quarantine.has(digest)) {
      this.#reportDamage(keys.blob(digest), 'its bytes are known to be damaged or gone')
      return undefined
    }
    const known = this.#cache.get(digest)
    if (known) return known
    const bytes = await this.#read(digest, from)
    return bytes && this.remember(digest, bytes)
  }

  async #read(digest: Digest, from: LinkedManifest | undefined): Promise<Uint8Array | undefined> {
    const key = keys.blob(digest)
    const bytes = await this.#storage.get(key, longest).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EFBIG') return Buffer.alloc(0)
      throw error
    })
    if (bytes && digestOf(bytes, algorithmOf(digest)) === digest) return bytes
    // Links go before the bytes that they lead to: whoever read one a moment before finds nothing, and nothing is wrong.
    if (!bytes && from && (await this.#links.readCurrent(keys.revision(from.name, from.digest), from.digest)) === undefined)
      return undefined
    this.#reportDamage(key, bytes ? 'the bytes are not those of the digest' : 'a manifest has no bytes')
    return undefined
  }

  /** The verified bytes that lie under `digest`, and to which the link `from` led, for whoever reads through all of them: what is served often stays in memory instead. */
  async peek(digest: Digest, from?: LinkedManifest): Promise<Uint8Array | undefined> {
    return this.#cache.peek(digest)?.bytes ?? this.#read(digest, from)
  }

  /** Keeps the bytes of `digest` no longer: they are removed, or asked for no more. */
  forget(digest: Digest): void {
    this.#cache.delete(digest)
  }

  /** Keeps verified bytes in memory. */
  remember(digest: Digest, bytes: Uint8Array): Manifest {
    const manifest = { descriptor: { mediaType: mediaTypeOf(bytes), digest, size: bytes.length }, bytes: alone(bytes) }
    this.#cache.set(digest, manifest)
    return manifest
  }

  /** All digests under which `name` has a manifest. */
  list(name: Name): AsyncIterable<Digest> {
    return listDigests(this.#storage, keys.revisions(name))
  }
}

// Node cuts small buffers out of blocks of 64 KiB: kept as they come, each manifest would keep a block.
function alone(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength === bytes.length) return bytes
  const own = Buffer.allocUnsafeSlow(bytes.length)
  own.set(bytes)
  return own
}
