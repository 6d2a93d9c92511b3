import { createKeyedMutex, type KeyedMutex } from '../../../storage/keyed-mutex.ts'
import type { Digest } from '../../oci/digest.ts'
import { isNotFound, OciError } from '../../oci/errors.ts'
import { found, isAbsentAtTarget } from '../../oci/found.ts'
import { mediaTypeOf } from '../../oci/manifest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import type { Patience } from './patience.ts'
import type { TargetRegistry } from './placement.ts'

/** What was done about a manifest or a tag. */
export type ManifestPut = 'put' | 'present'

const tagsPerPage = 10_000

/** Puts manifests and tags: each repository is asked for its tags once, and each manifest is put there once. */
export class ManifestPlacement {
  readonly #registry: TargetRegistry
  readonly #patience: Patience
  readonly #signal: AbortSignal
  readonly #put = new Map<string, ManifestPut>()
  readonly #tags = new Map<Name, ReadonlySet<string> | undefined>()
  readonly #inTurn: KeyedMutex = createKeyedMutex()

  constructor(registry: TargetRegistry, { patience, signal }: { patience: Patience; signal: AbortSignal }) {
    this.#registry = registry
    this.#patience = patience
    this.#signal = signal
  }

  /** Puts a manifest under its digest; what it needs has to be there. */
  place(name: Name, digest: Digest, read: () => Promise<Uint8Array>): Promise<ManifestPut> {
    const key = `${name}@${digest}`
    return this.#inTurn(key, async () => {
      const known = this.#put.get(key)
      if (known) return known
      const there = await this.#patience.run(() => found(this.#registry.statManifest(name, { digest }, this.#signal), isAbsentAtTarget))
      if (!there) await this.#send(name, digest, await read(), [])
      const result = there ? 'present' : 'put'
      this.#put.set(key, result)
      return result
    })
  }

  /** Has the tag name the manifest, and asks for it afterwards. */
  async tag(name: Name, tag: Tag, { digest, read }: { digest: Digest; read: () => Promise<Uint8Array> }): Promise<ManifestPut> {
    if ((await this.#mayHave(name, tag)) && (await this.#resolve(name, tag)) === digest) return 'present'
    await this.#send(name, digest, await read(), [tag])
    const actual = await this.#resolve(name, tag)
    if (actual === digest) return 'put'
    throw new OciError('MANIFEST_UNKNOWN', {
      detail: { reason: `after the push the tag ${tag} names ${actual ?? 'nothing'} at the target`, name }
    })
  }

  /** Whether the tag names anything. */
  async hasTag(name: Name, tag: Tag): Promise<boolean> {
    return (await this.#mayHave(name, tag)) && (await this.#resolve(name, tag)) !== undefined
  }

  // Where the repository does not list its tags, it may have any.
  #mayHave(name: Name, tag: Tag): Promise<boolean> {
    return this.#inTurn(name, async () => {
      if (!this.#tags.has(name)) this.#tags.set(name, await this.#list(name))
      return this.#tags.get(name)?.has(tag) ?? true
    })
  }

  async #list(name: Name): Promise<ReadonlySet<string> | undefined> {
    const tags = new Set<string>()
    try {
      for (let last: string | undefined; ; ) {
        const page = { n: tagsPerPage, ...(last === undefined ? {} : { last }) }
        const { value } = await this.#patience.run(() => this.#registry.listTags(name, page, this.#signal))
        for (const tag of value.items) tags.add(tag)
        if (value.next === undefined || value.next === last) return tags
        last = value.next
      }
    } catch (error) {
      this.#signal.throwIfAborted()
      return isNotFound(error) ? tags : undefined
    }
  }

  async #resolve(name: Name, tag: Tag): Promise<Digest | undefined> {
    const there = await this.#patience.run(() => found(this.#registry.statManifest(name, { tag }, this.#signal), isAbsentAtTarget))
    return there?.value.digest
  }

  async #send(name: Name, digest: Digest, bytes: Uint8Array, tags: readonly Tag[]): Promise<void> {
    const manifest = { mediaType: mediaTypeOf(bytes), bytes }
    await this.#patience.run(() => this.#registry.sink.putManifest(name, { digest }, manifest, tags, this.#signal))
  }
}
