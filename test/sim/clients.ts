import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { type Name, parseName } from '../../src/oci/name.ts'
import type { Entry } from '../../src/sync/entry.ts'
import type { SyncReplica } from '../../src/sync/replica.ts'
import type { LocalWrite } from '../../src/sync/table/table.ts'
import { manifestOf } from './machine.ts'
import type { SimNode } from './node.ts'
import type { SimTree } from './tree.ts'
import type { World } from './world.ts'

/** A push or a deletion, as its client saw it. Times are of the simulation, in ms. */
export interface Written {
  node: string
  name: Name
  tag: string
  /** Absent for a deletion. */
  digest?: Digest
  startedAt: number
  /** Of the tag, once it was made. */
  entry?: Entry
  acknowledged?: 'local' | 'majority'
  acknowledgedAt?: number
}

/** What a client was given for a tag. */
export interface Read {
  node: SimNode
  /** Which run of its process. */
  run: number
  name: Name
  tag: string
  startedAt: number
  result: Digest | 'absent' | 'unknown'
  /** Whether the replica itself showed it. */
  here: boolean
}

const names = ['app', 'lib/base'].map(parseName)
const tags = ['v1', 'v2', 'latest']

/** Clients that push, delete and pull at any replica. */
export class Clients {
  readonly writes: Written[] = []
  readonly #world: World
  readonly #onRead: (read: Read) => void
  #unique = 0

  constructor(world: World, onRead: (read: Read) => void) {
    this.#world = world
    this.#onRead = onRead
  }

  /** One request, which may fail or never end. */
  act(node: SimNode): void {
    const { chance } = this.#world
    const kind = chance.next()
    const [name, tag] = [chance.of(names), chance.of(tags)]
    const work =
      kind < 0.45
        ? this.#push(node, name, tag)
        : kind < 0.53
          ? this.#deleteTag(node, name, tag)
          : kind < 0.58
            ? this.#deleteManifest(node, name, tag)
            : this.read(node, name, tag)
    work.catch(() => {})
  }

  /** All tags at a replica. */
  async readAll(node: SimNode): Promise<void> {
    for (const name of names) for (const tag of tags) await this.read(node, name, tag)
  }

  async #push(node: SimNode, name: Name, tag: string): Promise<void> {
    const { replica, tree } = node
    if (!replica || !tree) return
    const { chance } = this.#world
    const blobs = [await this.#pushBlob(replica, tree, name), ...(chance.happens(0.5) ? [await this.#pushBlob(replica, tree, name)] : [])]
    const image = manifestOf({ blobs, manifests: [], unique: ++this.#unique })
    const entries: Entry[] = []
    let top = image
    if (chance.happens(0.25)) {
      entries.push(...(await this.#putManifest(replica, tree, name, image)))
      top = manifestOf({ blobs: [], manifests: [image.digest], unique: ++this.#unique })
    }
    const write: Written = { node: node.name, name, tag, digest: top.digest, startedAt: this.#world.now }
    this.writes.push(write)
    entries.push(...(await this.#putManifest(replica, tree, name, top, tag, write)))
    await this.#acknowledge(replica, entries, write)
  }

  async #pushBlob(replica: SyncReplica, tree: SimTree, name: Name): Promise<Digest> {
    tree.demandRoom()
    const bytes = `blob ${++this.#unique}`
    const digest = digestOf(Buffer.from(bytes))
    await tree.write(() => tree.storeBlob(name, digest, bytes))
    await replica.wrote({ kind: 'link', name, key: digest, value: digest })
    return digest
  }

  // As Commit does it: inside the mutex of the repository, the tree first.
  #putManifest(
    replica: SyncReplica,
    tree: SimTree,
    name: Name,
    { digest, bytes }: { digest: Digest; bytes: string },
    tag?: string,
    write?: Written
  ): Promise<Entry[]> {
    return tree.mutex(name, async () => {
      tree.demandRoom()
      await tree.write(() => tree.storeManifest(name, digest, bytes))
      const revision = await replica.wrote({ kind: 'revision', name, key: digest, value: digest })
      if (tag === undefined) return revision
      await tree.write(() => tree.storeTag(name, tag, digest))
      return this.#noted(write, await replica.wrote({ kind: 'tag', name, key: tag, value: digest }))
    })
  }

  #noted(write: Written | undefined, entries: Entry[]): Entry[] {
    const entry = entries.at(-1)
    if (write && entry) write.entry = entry
    return entries
  }

  async #acknowledge(replica: SyncReplica, entries: Entry[], write: Written): Promise<void> {
    const majority = this.#world.chance.happens(0.6)
    if (majority) await replica.acknowledge(entries, new AbortController().signal)
    write.acknowledged = majority ? 'majority' : 'local'
    write.acknowledgedAt = this.#world.now
  }

  async #deleteTag(node: SimNode, name: Name, tag: string): Promise<void> {
    const { replica, tree } = node
    if (!replica || !tree || (await tree.shown('tag', name, tag)) === undefined) return
    const write: Written = { node: node.name, name, tag, startedAt: this.#world.now }
    this.writes.push(write)
    const entries = await tree.mutex(name, () => this.#remove(replica, tree, { kind: 'tag', name, key: tag }, write))
    await this.#acknowledge(replica, entries, write)
  }

  async #deleteManifest(node: SimNode, name: Name, tag: string): Promise<void> {
    const { replica, tree } = node
    const digest = await tree?.shown('tag', name, tag)
    if (!replica || !tree || digest === undefined) return
    const write: Written = { node: node.name, name, tag, startedAt: this.#world.now }
    this.writes.push(write)
    const entries = await tree.mutex(name, async () => {
      const removed: Entry[] = []
      for (const each of tags) {
        if ((await tree.shown('tag', name, each)) !== digest) continue
        removed.push(...(await this.#remove(replica, tree, { kind: 'tag', name, key: each }, each === tag ? write : undefined)))
      }
      return [...removed, ...(await this.#remove(replica, tree, { kind: 'revision', name, key: digest }))]
    })
    await this.#acknowledge(replica, entries, write)
  }

  async #remove(replica: SyncReplica, tree: SimTree, write: LocalWrite, noted?: Written): Promise<Entry[]> {
    const { kind, name, key } = write
    await tree.write(() => tree.erase(kind, name, key))
    return this.#noted(noted, await replica.wrote(write))
  }

  /** A pull by tag, as a server answers it. */
  async read(node: SimNode, name: Name, tag: string): Promise<void> {
    const { replica, runs: run } = node
    if (!replica) return
    const startedAt = this.#world.now
    const found = await replica.resolveTag(name, tag, new AbortController().signal)
    const of = { node, run, name, tag, startedAt }
    if (found === 'absent') this.#onRead({ ...of, result: 'absent', here: true })
    else if ('unknown' in found) this.#onRead({ ...of, result: 'unknown', here: false })
    else if ('here' in found) this.#onRead({ ...of, result: found.here, here: true })
    else this.#onRead({ ...of, result: found.digest, here: false })
  }
}
