import { type Clock, systemClock } from '../../../storage/clock.ts'
import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Storage } from '../../../storage/storage.ts'
import type { Content } from '../content.ts'
import { type CapacityDemand, type FillCapacity, noCapacity } from '../fill/capacity.ts'
import { type CacheShares, platform, undivided, upstreamText } from '../fill/shares.ts'
import { LeaseHeldError } from '../shared/removal-lease.ts'
import { type EvictPolicy, evict } from './evict.ts'
import { CacheInventory, type EvictBefore } from './inventory.ts'
import type { Removal } from './run.ts'
import type { Yield } from './yield.ts'

/** How full the storage is. */
export interface FreeSpace {
  /** How many bytes have to be removed for `bytes` more to fit; 0 or less if they do. */
  missingBytes(bytes: number): number | Promise<number>
  /** Bytes that still fit, as far as the storage has an end. */
  freeBytes(): number | Promise<number>
  /** How much is removed beyond that, so that the next blob need not wait. */
  readonly marginBytes: number
}

// Part of the budget that is freed beyond what is missing, so that not every fill has to wait.
const margin = 0.05
const maxMarginBytes = 1024 ** 3
// The bytes that one missing inode counts for.
const bytesPerInode = 4096

/** How full the storage is, for making capacity. */
export async function freeSpaceOf(storage: Storage): Promise<FreeSpace> {
  const { budget, total } = await storage.usage()
  return {
    marginBytes: Math.min(maxMarginBytes, (budget ?? total ?? Number.POSITIVE_INFINITY) * margin),
    missingBytes: async bytes => {
      const shortage = await storage.shortage(bytes)
      if (!shortage) return 0
      return shortage.unit === 'inodes' ? shortage.excess * bytesPerInode : shortage.excess
    },
    freeBytes: async () => {
      const { budget: limit = Number.POSITIVE_INFINITY, used = 0, free = Number.POSITIVE_INFINITY, reserve } = await storage.usage()
      return Math.max(0, Math.min(limit - used, free - reserve))
    }
  }
}

/** What making capacity needs. */
export interface CapacityDeps {
  storage: Storage
  content: Content
  space: FreeSpace
  shares?: CacheShares
  policy(): Promise<Pick<EvictPolicy, 'pinned' | 'grace'>>
  yielder: Yield
  onRemove(removal: Removal): void
  clock?: Pick<Clock, 'now'>
}

// After a run that could not make enough capacity for an upstream, none is tried for it for so long; and so long it is
// remembered what it could evict.
const backoffMs = 10_000

/** What is cached and by upstream the bytes that could be evicted for it, which counts until an eviction. */
interface KnownCache {
  inventory: CacheInventory
  evictable: Map<string, number>
  until: number
}

/**
 * Makes capacity for what is to be cached, by evicting in the order of last access what the upstream may evict.
 * Checking whether that can be done removes nothing. One check or eviction runs at a time.
 */
export class Capacity implements FillCapacity {
  readonly #deps: CapacityDeps
  readonly #shares: CacheShares
  readonly #clock: Pick<Clock, 'now'>
  readonly #mutex = createMutex()
  readonly #retryAt = new Map<string, number>()
  #known: KnownCache | undefined

  constructor(deps: CapacityDeps) {
    this.#deps = deps
    this.#shares = deps.shares ?? undivided
    this.#clock = deps.clock ?? systemClock
  }

  /** Rejects on an I/O error too. */
  async check(demand: () => CapacityDemand): Promise<void> {
    if (await this.#fitsWithoutEviction(demand())) return
    await this.#mutex(() => this.#check(demand()))
  }

  // Without a look at what is cached: whether as much is free for each of the namespaces that share the cache.
  async #fitsWithoutEviction({ own, others }: CapacityDemand): Promise<boolean> {
    const parts = own.upstream === platform ? 1 : Math.max(1, this.#shares.upstreams().size)
    const reserved = others.reduce((sum, each) => sum + (own.upstream === platform ? each.secured : each.remaining), 0)
    const needed = (own.written + own.remaining) * parts - own.written
    return (await this.#deps.space.missingBytes(needed + reserved)) <= 0
  }

  async #check({ own, others }: CapacityDemand): Promise<void> {
    const { space, storage } = this.#deps
    const { upstream, remaining } = own
    const [free, { used = Number.POSITIVE_INFINITY }] = [await space.freeBytes(), await storage.usage()]
    // Nothing has to be read to refuse what an empty storage could not take.
    if (remaining > free + used) throw noCapacity(`${remaining} more bytes do not fit into a storage of ${free + used} bytes`)
    const { inventory, evictable } = await this.#read()
    const pool = free + writtenByNamespaces({ own, others })
    const share = inventory.share(upstream, pool)
    const running = own.written + remaining
    if (running > share) {
      const whose = upstreamText(upstream)
      throw noCapacity(`${running} bytes would be downloaded at once from ${whose}, whose share of the cache has ${Math.floor(share)}`)
    }
    let reserved = 0
    for (const each of others) {
      // What an upstream has in its share it can replace.
      const kept = Math.min(each.remaining, inventory.share(each.upstream, pool) - inventory.stored(each.upstream))
      // The platform gives way to no other upstream.
      reserved += upstream === platform ? each.secured : Math.max(each.secured, kept)
    }
    const missing = await space.missingBytes(remaining + reserved)
    if (missing <= 0) return
    const most = evictable.get(upstream) ?? (await this.#measure(upstream, inventory, pool))
    evictable.set(upstream, most)
    if (most >= missing) return
    throw noCapacity(`${missing} bytes too many, and no more than ${most} bytes may be evicted for ${upstreamText(upstream)}`)
  }

  async #read(): Promise<KnownCache> {
    const now = this.#clock.now()
    if (this.#known && now < this.#known.until) return this.#known
    const { content, storage, yielder } = this.#deps
    const inventory = await CacheInventory.read(content, storage, this.#shares, yielder)
    this.#known = { inventory, evictable: new Map(), until: now + backoffMs }
    return this.#known
  }

  // Bytes that would become free if all went that an upstream may evict.
  async #measure(upstream: string, inventory: CacheInventory, poolBytes: number): Promise<number> {
    const { before } = inventory.select(upstream, Number.POSITIVE_INFINITY, poolBytes)
    let bytes = 0
    for await (const removal of this.#evict(before, 'report')) bytes += removal.bytes ?? 0
    return bytes
  }

  /** Rejects on an I/O error too. */
  async secure(demand: () => CapacityDemand): Promise<void> {
    if ((await this.#deps.space.missingBytes(securedBytes(demand()))) <= 0) return
    if (await this.#mutex(() => this.#secure(demand()))) return
    const { own } = demand()
    throw noCapacity(`no capacity could be made for ${own.secured} more bytes of ${upstreamText(own.upstream)}`)
  }

  async #secure(demand: CapacityDemand): Promise<boolean> {
    const { space, content, storage, yielder } = this.#deps
    const { upstream } = demand.own
    const bytes = securedBytes(demand)
    let missing = await space.missingBytes(bytes)
    if (missing <= 0) return true
    if (this.#clock.now() < (this.#retryAt.get(upstream) ?? 0)) return false
    const inventory = await CacheInventory.read(content, storage, this.#shares, yielder)
    const pool = (await space.freeBytes()) + writtenByNamespaces(demand)
    this.#known = undefined
    // An image that was requested keeps its older blobs, which shows only afterwards. So the target is tried twice, and
    // then doubled.
    for (let attempt = 0; ; attempt++) {
      const factor = 2 ** Math.max(0, attempt - 1)
      const { before, all } = inventory.select(upstream, (missing + space.marginBytes) * factor, pool)
      // Another process holds the removal lease, and makes capacity for all.
      if (!(await this.#remove(before))) break
      missing = await space.missingBytes(bytes)
      if (missing <= 0) return true
      if (all) break
    }
    this.#retryAt.set(upstream, this.#clock.now() + backoffMs)
    return false
  }

  added(upstream: string, bytes: number): void {
    this.#known?.inventory.add(upstream, bytes)
    for (const [each, evictable] of this.#known?.evictable ?? [])
      if (each === upstream || each === platform) this.#known?.evictable.set(each, evictable + bytes)
  }

  async #remove(before: EvictBefore): Promise<boolean> {
    try {
      for await (const removal of this.#evict(before, 'remove')) this.#deps.onRemove(removal)
      return true
    } catch (error) {
      if (error instanceof LeaseHeldError) return false
      throw error
    }
  }

  async *#evict(before: EvictBefore, mode: 'remove' | 'report'): AsyncGenerator<Removal> {
    const { storage, content, yielder } = this.#deps
    const policy: EvictPolicy = { ...(await this.#deps.policy()), reason: 'room', before }
    const now = () => this.#clock.now()
    yield* evict(storage, content, policy, { yielder, now, ...(mode === 'report' ? { dryRun: true } : {}) })
  }
}

const securedBytes = ({ own, others }: CapacityDemand): number => others.reduce((sum, each) => sum + each.secured, own.secured)

// Bytes of running fills are neither free nor in the cache.
function writtenByNamespaces({ own, others }: CapacityDemand): number {
  return [own, ...others].reduce((sum, each) => sum + (each.upstream === platform ? 0 : each.written), 0)
}
