import { equal, ok } from 'node:assert/strict'
import { LocalSink } from '../../src/backend/local-sink.ts'
import { type Content, openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import { evict } from '../../src/content/gc/evict.ts'
import * as keys from '../../src/content/keys.ts'
import type { RemovalLeaseTimes } from '../../src/content/shared/removal-lease.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { readManifest } from '../../src/oci/manifest.ts'
import type { Name, Tag } from '../../src/oci/name.ts'
import type { Storage } from '../../storage/storage.ts'
import type { Random } from '../long/random.ts'
import { blobText, bodyOf, chunkOf, describe, imageOf, indexOf, named, tagged } from '../support/content.ts'
import { Model, type Repository } from './model.ts'
import { Dead, MortalStorage } from './mortal.ts'

const hour = 3_600_000
const names = ['one', 'two/deep', 'upstreams/host/three'].map(named)
const tags = ['a', 'b', 'c'].map(tagged)
const payloads = Array.from({ length: 10 }, (_, at) => `payload ${at}`)
const payloadOf = new Map(payloads.map(each => [digestOf(Buffer.from(each)), each]))
const upstream = 'upstream.example'

type May = (name: Name, digest: Digest) => boolean

// One process runs at a time: the lease is free whenever it is acquired, and never held by another process.
const leaseTimes: RemovalLeaseTimes = { statusTtlMs: Number.POSITIVE_INFINITY, noticeMs: 0, pollMs: 1 }

/**
 * One random life of a store: pushes, tags, deletes, fills, switches of the mode, collections, evictions and crashes.
 * Throws what is wrong.
 */
export class Sequence {
  readonly #random: Random
  readonly #below: () => Promise<Storage>
  readonly #times = new Map<string, number>()
  readonly #model = new Model(hour)
  readonly #untagged: number | undefined
  #clock = Date.now()
  get #footprint() {
    return this.#model.footprint
  }
  #mode: 'Local' | 'Proxy' = 'Local'
  #calm = false
  /** What the collection or eviction that runs may take. */
  #taking: May = () => false
  #storage: MortalStorage | undefined
  #content: Content | undefined

  /** `below` opens what outlives a process. */
  constructor(below: () => Promise<Storage>, random: Random) {
    this.#below = below
    this.#random = random
    this.#untagged = random.next() < 0.3 ? 3 * hour : undefined
  }

  async run(steps: number): Promise<void> {
    await this.#open()
    for (let at = 0; at < steps; at++) {
      if (this.#random.next() < 0.15) this.#alive.storage.left = this.#random.between(1, 60)
      await this.#guarded(() => this.#step())
    }
    this.#alive.storage.left = Number.POSITIVE_INFINITY
    this.#clock += 2 * hour
    this.#calm = true
    for (let round = 0; round < 2; round++) await this.#collect({ loose: 'sweep' })
    await this.#check()
    await this.#nothingLeft()
    await this.#alive.storage.close()
  }

  get #alive() {
    ok(this.#storage && this.#content)
    return { storage: this.#storage, content: this.#content, sink: new LocalSink(this.#content) }
  }

  async #open(): Promise<void> {
    this.#storage = new MortalStorage(await this.#below(), this.#times, () => this.#clock)
    const damaged = (key: string, reason: string) => ok(this.#storage?.dead, `${key}: ${reason}`)
    this.#content = openContent(this.#storage, damaged, { now: () => this.#clock, leaseTimes })
  }

  async #guarded(step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      if (!(error instanceof Dead) && !this.#alive.storage.dead) throw error
      // What was under way comes to its end before the next process begins.
      await new Promise(resolve => setImmediate(resolve))
      await this.#alive.storage.close()
      await this.#open()
      // A tag that was taken away while a collection ran has left it a manifest.
      this.#mayLose()
      this.#model.crashed(hour)
      await this.#check()
      await this.#adopt()
    }
    this.#taking = () => false
    this.#footprint.clear()
  }

  async #step(): Promise<void> {
    const dice = this.#random.next()
    if (dice < 0.08) this.#clock += this.#random.between(1, 5) * (hour / 2)
    else if (dice < 0.12) this.#mode = this.#mode === 'Local' ? 'Proxy' : 'Local'
    else if (dice < 0.24) await this.#collect({ loose: this.#mode === 'Proxy' ? 'keep' : 'sweep' })
    else if (dice < 0.32) await this.#evict(this.#clock - this.#random.between(0, 6) * hour)
    else await this.#change()
    if (dice < 0.32) this.#model.forget(this.#clock)
    if (dice > 0.12 && dice < 0.32) await this.#check()
  }

  #change(): Promise<void> {
    const name = this.#pick(names)
    const dice = this.#random.next()
    if (this.#mode === 'Proxy') return dice < 0.5 ? this.#cacheBlob(name) : dice < 0.8 ? this.#cacheManifest(name) : this.#read(name)
    if (dice < 0.3) return this.#pushBlob(name)
    if (dice < 0.4) return this.#mount(name)
    if (dice < 0.5) return this.#head(name)
    if (dice < 0.75) return this.#pushManifest(name)
    if (dice < 0.85) return this.#pushIndex(name)
    return this.#delete(name)
  }

  #pick<T>(items: readonly T[]): T {
    const item = this.#random.pick(items)
    ok(item !== undefined)
    return item
  }

  async #pushBlob(name: Name): Promise<void> {
    const [digest, payload] = this.#pick([...payloadOf])
    this.#footprint.add(`${name} ${digest}`)
    const session = await this.#alive.content.uploads.start(name)
    await session.append(chunkOf(bodyOf(payload)))
    await session.finish(digest)
    this.#model.at(name).blobs.set(digest, { from: 'push', told: this.#clock })
  }

  async #mount(name: Name): Promise<void> {
    const from = this.#pick(names)
    const digest = this.#random.pick(this.#model.certain(from, this.#clock))
    if (!digest) return
    this.#footprint.add(`${name} ${digest}`)
    const known = this.#model.at(name).blobs.get(digest)
    ok(await this.#alive.sink.mountBlob(name, digest, from), `${digest} is in ${from} and cannot be mounted`)
    this.#model.at(name).blobs.set(digest, { from: known?.from ?? (await this.#fromOf(name, digest)), told: this.#clock })
  }

  async #head(name: Name): Promise<void> {
    for (const [digest] of payloadOf) {
      if ((await this.#alive.content.blobs.statRenewed(name, digest)) === undefined) continue
      const { blobs } = this.#model.at(name)
      blobs.set(digest, { from: blobs.get(digest)?.from ?? (await this.#fromOf(name, digest)), told: this.#clock })
    }
  }

  async #fromOf(name: Name, digest: Digest) {
    return (await this.#alive.content.provenance.get(name, digest)) === undefined ? ('push' as const) : ('upstream' as const)
  }

  async #pushManifest(name: Name): Promise<void> {
    const certain = this.#model.certain(name, this.#clock)
    if (certain.length === 0) return
    const [config, layer] = [this.#pick(certain), this.#pick(certain)].map(each => payloadOf.get(each) ?? '') as [string, string]
    const subject = this.#random.next() < 0.3 ? this.#random.pick(this.#manifests(name)) : undefined
    await this.#put(name, imageOf(config, [layer], subject ? { subject: describe(subject[1].bytes) } : {}))
  }

  async #pushIndex(name: Name): Promise<void> {
    const child = this.#random.pick(this.#manifests(name))
    if (child) await this.#put(name, indexOf([child[1].bytes]))
  }

  // Those that no eviction takes at this moment.
  #manifests(name: Name) {
    return [...this.#model.at(name).manifests].filter(([digest]) => !this.#footprint.has(`${name} ${digest}`))
  }

  async #put(name: Name, bytes: Buffer): Promise<void> {
    const tag = this.#random.next() < 0.7 ? this.#pick(tags) : undefined
    const digest = digestOf(bytes)
    for (const each of [digest, ...(tag ? [tag] : [])]) this.#footprint.add(`${name} ${each}`)
    await this.#alive.sink.putManifest(name, tag ? { tag } : { digest }, { bytes }, [])
    this.#know(name, digest, bytes, 'push')
    if (tag) this.#model.at(name).tags.set(tag, { digest, from: 'push' })
  }

  #know(name: Name, digest: Digest, bytes: Buffer, from: 'push' | 'upstream'): void {
    const parsed = readManifest(bytes)
    ok(parsed)
    const [blobs, manifests] = [parsed.blobs, parsed.manifests].map(all => all.map(each => each.digest)) as [Digest[], Digest[]]
    const subject = parsed.subject?.digest
    this.#model.at(name).manifests.set(digest, { bytes, blobs, manifests, from, last: this.#clock, ...(subject ? { subject } : {}) })
  }

  async #delete(name: Name): Promise<void> {
    const known = this.#model.at(name)
    const tag = this.#random.pick([...known.tags.keys()].filter(each => !this.#footprint.has(`${name} ${each}`)))
    const [manifest] = this.#random.pick(this.#manifests(name)) ?? []
    const blob = this.#random.pick([...known.blobs.keys()])
    const dice = this.#random.next()
    if (dice < 0.4 && tag) {
      this.#footprint.add(`${name} ${tag}`)
      await this.#alive.sink.deleteManifest(name, { tag })
      known.tags.delete(tag)
    } else if (dice < 0.8 && manifest) {
      const naming = [...known.tags].filter(([, { digest }]) => digest === manifest).map(([each]) => each)
      for (const each of [manifest, ...naming]) this.#footprint.add(`${name} ${each}`)
      await this.#alive.sink.deleteManifest(name, { digest: manifest })
      known.manifests.delete(manifest)
      for (const each of naming) known.tags.delete(each)
    } else if (blob && this.#model.certain(name, this.#clock).includes(blob)) {
      this.#footprint.add(`${name} ${blob}`)
      await this.#alive.sink.deleteBlob(name, blob)
      known.blobs.delete(blob)
    }
  }

  async #cacheBlob(name: Name): Promise<void> {
    const { content, storage } = this.#alive
    const [digest, payload] = this.#pick([...payloadOf])
    this.#footprint.add(`${name} ${digest}`)
    const writer = await storage.create(`.registry/tmp/${digest.slice(-8)}`)
    try {
      await writer.write([Buffer.from(payload)])
      await content.commit.publishBlob(name, digest, writer, upstream)
    } finally {
      await writer.close()
    }
    const { blobs } = this.#model.at(name)
    blobs.set(digest, { from: await this.#fromOf(name, digest), told: blobs.get(digest)?.told })
  }

  async #cacheManifest(name: Name): Promise<void> {
    const [config, layer] = [this.#pick(payloads), this.#pick(payloads)]
    const bytes = imageOf(config, [layer])
    const digest = digestOf(bytes)
    const tag = this.#random.next() < 0.5 ? this.#pick(tags) : undefined
    for (const each of [digest, ...(tag ? [tag] : [])]) this.#footprint.add(`${name} ${each}`)
    const known = this.#model.at(name)
    const from = known.manifests.get(digest)?.from ?? 'upstream'
    const { content } = this.#alive
    await content.commit.putManifest(name, digest, bytes, {
      tags: tag ? [tag] : [],
      provenance: { upstream, digest, checked: this.#clock }
    })
    this.#seen(name, digest)
    this.#know(name, digest, bytes, from)
    if (!tag) return
    const named = (await content.provenance.getTag(name, tag)) === undefined ? 'push' : 'upstream'
    known.tags.set(tag, { digest, from: named })
  }

  async #read(name: Name): Promise<void> {
    const [digest, manifest] = this.#random.pick(this.#manifests(name)) ?? []
    if (!digest || !manifest) return
    this.#seen(name, digest)
    // What was pushed goes by the time of its push.
    if (manifest.from === 'upstream') manifest.last = this.#clock
  }

  // As serving it does. The process does not wait for the disk, so that it can die before the disk knows.
  #seen(name: Name, digest: Digest): void {
    const { storage, content } = this.#alive
    content.lastAccess.record(name, digest)
    if (storage.dead) throw new Dead('no client was served')
  }

  async #collect({ loose }: { loose: 'keep' | 'sweep' }): Promise<void> {
    const { storage, content } = this.#alive
    const untagged = this.#untagged
    const before = this.#clock
    const run = collect(storage, content, {
      grace: hour,
      unreferencedCached: loose,
      yielder: { step: () => this.#meanwhile() },
      now: () => this.#clock,
      ...(untagged === undefined ? {} : { untagged })
    })
    this.#taking = (name, digest) => untagged !== undefined && this.#model.mayGoUntagged(name, digest, before, untagged)
    this.#mayLose()
    for await (const _ of run);
    await this.#lose()
  }

  async #evict(before: number): Promise<void> {
    const { storage, content } = this.#alive
    this.#taking = (name, digest) => this.#model.mayExpire(name, digest, before)
    this.#mayLose()
    const policy = { reason: 'expired', before: () => before, pinned: () => false, grace: hour } as const
    for await (const _ of evict(storage, content, policy, { yielder: { step: () => this.#meanwhile() }, now: () => this.#clock }));
    await this.#lose()
  }

  // Others go on while something is collected.
  async #meanwhile(): Promise<void> {
    if (!this.#calm && this.#random.next() < 0.03) await this.#change()
  }

  // What a collection or an eviction may take, with the tags of upstream that name it.
  #mayLose(): void {
    for (const [name, { manifests, tags }] of this.#model.repositories()) {
      for (const digest of manifests.keys()) {
        if (!this.#taking(name, digest)) continue
        this.#footprint.add(`${name} ${digest}`)
        for (const [tag, each] of tags) if (each.digest === digest) this.#footprint.add(`${name} ${tag}`)
      }
    }
  }

  async #lose(): Promise<void> {
    // Tags may have been moved meanwhile.
    this.#mayLose()
    this.#taking = () => false
    await this.#check()
    await this.#adopt()
    this.#footprint.clear()
  }

  /** Everything that has to be there is, except for what the step under way may change. */
  async #check(): Promise<void> {
    const { content } = this.#alive
    for (const [name, { manifests, tags }] of this.#model.repositories()) {
      for (const [digest, { bytes, from }] of manifests) {
        if (this.#footprint.has(`${name} ${digest}`)) continue
        ok((await content.manifests.get(name, digest))?.bytes.length === bytes.length, `${from}: ${name}@${digest} is missing`)
      }
      for (const [tag, { digest }] of tags) {
        if (!this.#footprint.has(`${name} ${tag}`)) equal(await content.tags.resolve(name, tag), digest, `${name}:${tag}`)
      }
      for (const digest of this.#model.certain(name, this.#clock)) {
        if (this.#footprint.has(`${name} ${digest}`)) continue
        equal(await blobText(content, name, digest), payloadOf.get(digest), `${name}@${digest}`)
      }
    }
  }

  /** Takes over what became of the step that was under way. */
  async #adopt(): Promise<void> {
    const { content } = this.#alive
    for (const name of names) {
      const known: Repository = this.#model.at(name)
      for await (const digest of content.manifests.list(name)) {
        const manifest = known.manifests.has(digest) ? undefined : await content.manifests.get(name, digest)
        if (manifest) this.#know(name, digest, Buffer.from(manifest.bytes), await this.#fromOf(name, digest))
      }
      for (const digest of [...known.manifests.keys()]) {
        const from = (await content.manifests.linked(name, digest)) && (await this.#fromOf(name, digest))
        const manifest = known.manifests.get(digest)
        if (!from) known.manifests.delete(digest)
        else if (manifest) manifest.from = from
      }
      known.tags.clear()
      for await (const { tag, digest } of content.tags.all(name)) {
        known.tags.set(tag, { digest, from: (await content.provenance.getTag(name, tag)) === undefined ? 'push' : 'upstream' })
      }
      for (const digest of payloadOf.keys()) await this.#adoptBlob(name, digest)
    }
  }

  async #adoptBlob(name: Name, digest: Digest): Promise<void> {
    const { blobs } = this.#model.at(name)
    if ((await this.#alive.content.blobs.linked(name, digest)) === undefined) blobs.delete(digest)
    else blobs.set(digest, { from: await this.#fromOf(name, digest), told: blobs.get(digest)?.told })
  }

  /** Nothing unreferenced is stored, and no empty repository. */
  async #nothingLeft(): Promise<void> {
    const { storage, content } = this.#alive
    const needed = new Set<Digest>()
    for await (const name of content.names.all()) {
      const list = await Array.fromAsync(content.manifests.list(name))
      const [tags, links] = [
        await Array.fromAsync(content.tags.all(name)),
        await Array.fromAsync(storage.walk(`${keys.layers(name)}/sha256`))
      ]
      ok(list.length + tags.length + links.length > 0 || (await this.#hasUpload(name)), `${name} is empty`)
      for (const digest of list) {
        needed.add(digest)
        const parsed = readManifest((await content.manifests.get(name, digest))?.bytes ?? Buffer.alloc(0))
        for (const each of [...(parsed?.blobs ?? []), ...(parsed?.manifests ?? [])]) needed.add(each.digest)
      }
    }
    for await (const shard of storage.walk(`${keys.blobs}/sha256`)) {
      for await (const { name } of storage.walk(shard.key)) ok(needed.has(`sha256:${name}` as Digest), `nothing needs ${name}`)
    }
  }

  async #hasUpload(name: Name): Promise<boolean> {
    for await (const _ of this.#alive.storage.walk(keys.uploads(name))) return true
    return false
  }
}

export type { Tag }
