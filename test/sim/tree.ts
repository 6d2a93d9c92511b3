import type { Digest } from '../../src/oci/digest.ts'
import type { Name } from '../../src/oci/name.ts'
import type { Copied, FetchedManifest, ShownKey, SyncTree } from '../../src/sync/ports.ts'
import { createKeyedMutex } from '../../storage/keyed-mutex.ts'
import { type Disk, needsOf } from './machine.ts'
import type { Life, World } from './world.ts'

/** Fetches the bytes of a digest that a repository of a peer shows; undefined if it has none; rejects if it cannot be asked. */
export type Fetch = (peer: string, name: Name, digest: Digest) => Promise<string | undefined>

/** The content of a simulated replica. */
export class SimTree implements SyncTree {
  /** Manifests and tags of a repository change inside it, as in Commit. */
  readonly mutex = createKeyedMutex()
  readonly #world: World
  readonly #life: Life
  readonly #disk: Disk
  readonly #fetch: Fetch

  constructor(world: World, life: Life, disk: Disk, fetch: Fetch) {
    this.#world = world
    this.#life = life
    this.#disk = disk
    this.#fetch = fetch
  }

  // A call to the disk takes a while.
  #read(): Promise<void> {
    return this.#life.wait(this.#world.chance.between(0, 2))
  }

  write<T>(effect: () => T): Promise<T> {
    return this.#life.write(this.#world.chance.between(1, 8), effect)
  }

  demandRoom(): void {
    if (this.#disk.full) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  }

  async shown(...[kind, name, key]: Parameters<SyncTree['shown']>): Promise<Digest | undefined> {
    await this.#read()
    return this.#disk.shown(kind, name, key)
  }

  async *list(): AsyncIterable<ShownKey> {
    for (const each of [...this.#disk.all()]) {
      if (this.#world.chance.happens(0.1)) await this.#read()
      yield each
    }
  }

  async hasBlob(name: Name, digest: Digest): Promise<boolean> {
    await this.#read()
    return this.#disk.shown('link', name, digest) !== undefined && this.#disk.bytes.has(digest)
  }

  async copyBlob(name: Name, digest: Digest, peers: readonly string[]): Promise<Copied> {
    const bytes = await this.#fetchFromAny(name, digest, peers)
    if (bytes === undefined) return 'none'
    this.demandRoom()
    await this.write(() => this.storeBlob(name, digest, bytes))
    return 'copied'
  }

  storeBlob(name: Name, digest: Digest, bytes: string): void {
    this.#disk.bytes.set(digest, bytes)
    this.#disk.repository(name).blobs.set(digest, this.#now())
  }

  #now(): number {
    return this.#world.start + this.#world.now
  }

  async readManifest(name: Name, digest: Digest, peers: readonly string[]): Promise<FetchedManifest | 'none'> {
    const bytes = this.#disk.bytes.get(digest) ?? (await this.#fetchFromAny(name, digest, peers))
    return bytes === undefined ? 'none' : { bytes: Buffer.from(bytes), needs: needsOf(bytes) }
  }

  async isShownBy(name: Name, digest: Digest, peers: readonly string[]): Promise<boolean> {
    return (await this.#fetchFromAny(name, digest, peers)) !== undefined
  }

  async #fetchFromAny(name: Name, digest: Digest, peers: readonly string[]): Promise<string | undefined> {
    let failure: unknown
    for (const peer of [...peers].sort(() => this.#world.chance.next() - 0.5)) {
      try {
        const bytes = await this.#fetch(peer, name, digest)
        if (bytes !== undefined) return bytes
      } catch (error) {
        failure = error
      }
    }
    if (failure) throw failure
    return undefined
  }

  linkManifest(name: Name, digest: Digest, { bytes }: FetchedManifest, wanted: () => boolean): Promise<boolean> {
    return this.mutex(name, async () => {
      this.demandRoom()
      if (!wanted()) return false
      await this.write(() => this.storeManifest(name, digest, Buffer.from(bytes).toString()))
      return true
    })
  }

  storeManifest(name: Name, digest: Digest, bytes: string): void {
    this.#disk.bytes.set(digest, bytes)
    this.#disk.repository(name).revisions.set(digest, this.#now())
  }

  setTag(name: Name, tag: string, digest: Digest, wanted: () => boolean): Promise<boolean> {
    return this.mutex(name, async () => {
      if (!wanted()) return false
      await this.write(() => this.storeTag(name, tag, digest))
      return true
    })
  }

  storeTag(name: Name, tag: string, digest: Digest): void {
    this.#disk.repository(name).tags.set(tag, { digest, at: this.#now() })
  }

  remove(...[kind, name, key, wanted]: Parameters<SyncTree['remove']>): Promise<boolean> {
    return this.mutex(name, async () => {
      if (!wanted()) return false
      await this.write(() => this.erase(kind, name, key))
      return true
    })
  }

  erase(...[kind, name, key]: Parameters<SyncTree['shown']>): void {
    this.#disk.remove(kind, name, key)
  }
}
