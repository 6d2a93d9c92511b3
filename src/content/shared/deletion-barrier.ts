import type { Key, Storage } from '../../../storage/storage.ts'
import { type Digest, isDigest } from '../../oci/digest.ts'
import * as keys from '../keys.ts'
import type { Links } from '../links.ts'
import type { DeletionBarrier, Renew, ReportedContent } from './coordination.ts'
import type { RemovalLease } from './removal-lease.ts'

// Requests side by side.
const concurrency = 8

interface BarrierDeps {
  storage: Storage
  links: Links
  renew: Renew
  lease: RemovalLease
}

/** The deletion barrier over the removal lease: renew the time, wait while the deletion is pending, look again. */
export class SharedDeletionBarrier implements DeletionBarrier {
  readonly #deps: BarrierDeps
  #epoch = 0

  constructor(deps: BarrierDeps) {
    this.#deps = deps
  }

  async readEpoch(): Promise<number> {
    const { lease, links } = this.#deps
    await lease.heldElsewhere()
    const { epoch } = lease
    if (this.#epoch !== epoch) links.forgetAll()
    this.#epoch = epoch
    return epoch
  }

  async isUnchanged(epoch: number): Promise<boolean> {
    const { lease } = this.#deps
    return !(await lease.heldElsewhere()) && lease.epoch === epoch
  }

  async findRemoved(reported: readonly ReportedContent[], epoch: number): Promise<ReportedContent[]> {
    if (await this.isUnchanged(epoch)) return []
    const { storage, links, renew, lease } = this.#deps
    links.forget(reported.map(each => each.link))
    const digests = new Set<Digest>()
    const removed = new Set<ReportedContent>()
    await inBatches(reported, async each => {
      const target = await this.#target(each.link)
      const found = target && (await storage.stat(keys.blob(target)))
      if (!found) return void removed.add(each)
      if (!(await renew(target, found.modified))) throw notRenewed(target)
      digests.add(each.digest).add(target)
    })
    await lease.waitWhilePending([...digests])
    await inBatches(reported, async each => {
      const target = await this.#target(each.link)
      if (!target || !(await storage.stat(keys.blob(target)))) removed.add(each)
    })
    return reported.filter(each => removed.has(each))
  }

  // Past the cache of links.
  async #target(link: Key): Promise<Digest | undefined> {
    const text = (await this.#deps.storage.get(link))?.toString('latin1').trim()
    return text !== undefined && isDigest(text) ? text : undefined
  }
}

async function inBatches<T>(all: readonly T[], task: (each: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += concurrency) await Promise.all(all.slice(at, at + concurrency).map(task))
}

// Bytes without a new time are not protected from removal, so no client may be told that they exist.
const notRenewed = (digest: Digest): Error =>
  Object.assign(new Error(`${keys.blob(digest)} could not be given a new time while another process removes`), { code: 'ESTALLED' })
