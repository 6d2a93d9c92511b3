import type { Key, Storage } from '../../../storage/storage.ts'
import { type Digest, isDigest } from '../../oci/digest.ts'
import type { Holds } from '../holds.ts'
import * as keys from '../keys.ts'
import type { Links } from '../links.ts'
import type { RemovalLease } from './removal-lease.ts'

/** Bytes that somebody is about to be told of, and the link that leads to them. */
export interface ReportedContent {
  link: Key
  digest: Digest
}

// Looked at side by side.
const atOnce = 8

/** Makes sure, before somebody is told of bytes, that no other process removes them. */
export class DeletionBarrier {
  readonly #storage: Storage
  readonly #links: Links
  readonly #holds: Holds
  readonly #turn: RemovalLease
  #changes = 0

  constructor(storage: Storage, links: Links, holds: Holds, turn: RemovalLease) {
    this.#storage = storage
    this.#links = links
    this.#holds = holds
    this.#turn = turn
  }

  /**
   * Asked before anything is looked at that somebody is going to be told of: links that are remembered are none that another process removed before, and with what it
   * resolves to `gone` knows whether another one removed anything since.
   */
  async readEpoch(): Promise<number> {
    await this.#turn.heldElsewhere()
    const { epoch: changes } = this.#turn
    if (this.#changes !== changes) this.#links.forgetAll()
    this.#changes = changes
    return changes
  }

  /** Whether no other process has removed anything since `look` resolved to `since`, nor may be doing so. */
  async isUnchanged(since: number): Promise<boolean> {
    return !(await this.#turn.heldElsewhere()) && this.#turn.epoch === since
  }

  /**
   * Resolves to those that are gone; the others stay for the grace of collections, whoever collects. Rejects where the store does not take a new time. Costs nothing while
   * nobody collects.
   */
  async findRemoved(all: readonly ReportedContent[], since: number): Promise<ReportedContent[]> {
    if (await this.isUnchanged(since)) return []
    this.#links.forget(all.map(each => each.link))
    const digests = new Set<Digest>()
    const gone = new Set<ReportedContent>()
    await this.#each(all, async each => {
      const target = await this.#target(each)
      const found = target && (await this.#storage.stat(keys.blob(target)))
      if (!found) return void gone.add(each)
      if (!(await this.#holds.renew(target, found.modified))) throw unrenewed(target)
      digests.add(each.digest).add(target)
    })
    await this.#turn.waitWhilePending([...digests])
    await this.#each(all, async each => {
      const target = await this.#target(each)
      if (!target || !(await this.#storage.stat(keys.blob(target)))) gone.add(each)
    })
    return all.filter(each => gone.has(each))
  }

  async #each(all: readonly ReportedContent[], task: (each: ReportedContent) => Promise<void>): Promise<void> {
    for (let at = 0; at < all.length; at += atOnce) await Promise.all(all.slice(at, at + atOnce).map(task))
  }

  // Past the memory of links.
  async #target({ link }: ReportedContent): Promise<Digest | undefined> {
    const text = (await this.#storage.get(link))?.toString('latin1').trim()
    return text !== undefined && isDigest(text) ? text : undefined
  }
}

// Where its age does not protect it, nobody can be told that it stays.
const unrenewed = (digest: Digest): Error =>
  Object.assign(new Error(`${keys.blob(digest)} could not be given a new time while another process removes`), { code: 'ESTALLED' })
