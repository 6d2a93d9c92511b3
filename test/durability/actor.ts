import type { Client, Reply } from '../long/client.ts'
import { digestOf } from '../long/client.ts'
import type { Part } from '../long/manifest.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import type { Session } from '../long/push.ts'
import { expect, pushBlob, sendChunk, startSession, ways } from '../long/push.ts'
import type { Random } from '../long/random.ts'
import type { Attempt } from './register.ts'
import type { World } from './world.ts'
import { blobPath, isTagPath, manifestPath } from './world.ts'

const largest = 4 * 1024 * 1024
const tags = ['a', 'b', 'c', 'latest', 'v1.0']

/**
 * A client that pushes, tags and deletes at random, and records what was acknowledged. It deletes only in its own
 * repository, so that other clients are not confused.
 */
export class Actor {
  readonly #client: Client
  readonly #world: World
  readonly #random: Random
  readonly #own: string
  readonly #shared: string

  constructor(client: Client, world: World, random: Random, names: { own: string; shared: string }) {
    this.#client = client
    this.#world = world
    this.#random = random
    this.#own = names.own
    this.#shared = names.shared
  }

  /** One step; rejects if the connection breaks or the registry refuses. */
  async step(): Promise<void> {
    const dice = this.#random.next()
    const name = this.#random.next() < 0.7 ? this.#own : this.#shared
    if (dice < 0.45) await this.#pushBlob(name)
    else if (dice < 0.55) await this.#leaveSession(name)
    else if (dice < 0.78) await this.#pushManifest(name)
    else if (dice < 0.88) await this.#moveTag(name)
    else await this.#remove()
    this.#world.acknowledged++
  }

  #bytes(): Buffer {
    const random = this.#random
    // Now and then what others push, too.
    if (random.next() < 0.2) return Buffer.alloc(random.between(0, 3) * 100_000, 'the same for all')
    return random.bytes(Math.floor(random.next() ** 5 * largest))
  }

  async #pushBlob(name: string): Promise<void> {
    const bytes = this.#bytes()
    const attempt = this.#begin(name, bytes)
    let ended = () => {}
    const opened = (session: Session) => {
      ended = this.#remember(name, session)
    }
    const way = this.#random.pick(ways) ?? 'monolithic'
    await pushBlob(this.#client, { name, bytes, way, random: this.#random, opened })
    attempt.done()
    ended()
  }

  async #leaveSession(name: string): Promise<void> {
    const bytes = this.#bytes()
    this.#begin(name, bytes)
    const session = await startSession(this.#client, { name, bytes, way: 'chunked', random: this.#random })
    this.#remember(name, session)
    if (bytes.length > 1) await sendChunk(this.#client, session, this.#random.between(2, bytes.length))
  }

  #begin(name: string, bytes: Buffer): Attempt {
    const digest = digestOf(bytes)
    this.#world.sizes.set(digest, bytes.length)
    return this.#world.at(name, blobPath(name, digest)).write(digest)
  }

  #remember(name: string, session: Session): () => void {
    const open = { name, session }
    this.#world.sessions.add(open)
    return () => void this.#world.sessions.delete(open)
  }

  async #pushManifest(name: string): Promise<void> {
    const random = this.#random
    const blobs = this.#certain(name, 'blobs')
    const [config, layer] = [random.pick(blobs), random.pick(blobs)]
    if (!config || !layer) return
    const subject = random.next() < 0.3 ? random.pick(this.#certain(name, 'manifests')) : undefined
    const bytes = makeManifest(config, [layer], { note: String(random.next()), ...(subject ? { subject } : {}) })
    const digest = digestOf(bytes)
    this.#world.sizes.set(digest, bytes.length)
    this.#world.manifests.set(digest, bytes)
    await this.#putManifest(name, digest, bytes)
    if (subject) this.#world.referrers.push({ name, subject: subject.digest, digest })
  }

  async #moveTag(name: string): Promise<void> {
    const manifest = this.#random.pick(this.#certain(name, 'manifests'))
    const bytes = manifest && this.#world.manifests.get(manifest.digest)
    // A manifest is refused when a blob of it was deleted meanwhile; in the shared repository nothing is.
    if (bytes && (name === this.#shared || this.#complete(bytes))) await this.#putManifest(name, digestOf(bytes), bytes)
  }

  async #putManifest(name: string, digest: string, bytes: Buffer): Promise<void> {
    const tag = this.#random.pick(tags) ?? ''
    const attempts = [digest, tag].map(each => this.#world.at(name, manifestPath(name, each)).write(digest))
    await this.#answered(attempts, 201, 'PUT', manifestPath(name, tag), { headers: manifestType, body: bytes })
  }

  async #remove(): Promise<void> {
    const name = this.#own
    const [path] = this.#random.pick(this.#present(name)) ?? []
    if (path === undefined) return
    const attempts = [this.#world.at(name, path).write(undefined)]
    // With a manifest go the tags that name it.
    if (path.includes('/manifests/') && !isTagPath(path)) {
      const named = this.#world.below(name, 'manifests').filter(([each]) => isTagPath(each))
      attempts.push(...named.map(([each]) => this.#world.at(name, each).mayWrite(undefined)))
    }
    await this.#answered(attempts, 202, 'DELETE', path)
  }

  async #answered(attempts: Attempt[], status: number, ...ask: Parameters<Client['ask']>): Promise<void> {
    const reply: Reply = await this.#client.ask(...ask)
    for (const attempt of attempts) {
      if (reply.status === status) attempt.done()
      else attempt.refused()
    }
    expect(status, `${ask[0]} ${ask[1]}`, reply)
  }

  #present(name: string) {
    return [...this.#world.below(name, 'blobs'), ...this.#world.below(name, 'manifests')].filter(([, each]) => each.certain() !== undefined)
  }

  #certain(name: string, kind: 'blobs' | 'manifests'): Part[] {
    const digests = this.#world
      .below(name, kind)
      .filter(([path]) => !isTagPath(path))
      .flatMap(([, register]) => register.certain() ?? [])
    return digests.map(digest => ({ digest, size: this.#world.sizes.get(digest) ?? -1 }))
  }

  #complete(manifest: Buffer): boolean {
    const { config, layers } = JSON.parse(manifest.toString()) as { config: Part; layers: Part[] }
    return [config, ...layers].every(({ digest }) => this.#world.at(this.#own, blobPath(this.#own, digest)).certain() !== undefined)
  }
}
