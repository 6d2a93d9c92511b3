import type { Storage } from '../../../storage/storage.ts'

/** What the running fills of one upstream need; in bytes. */
export interface UpstreamNeed {
  upstream: string
  /** What is written already. */
  written: number
  /** What is not. */
  remaining: number
  /** Of that, what capacity was made for. */
  secured: number
}

/** What an upstream needs, with a fill that is to be admitted, and what others were promised. */
export interface CapacityDemand {
  own: UpstreamNeed
  others: readonly UpstreamNeed[]
}

/** Makes capacity for fills. A demand is read when its turn has come. */
export interface FillCapacity {
  /** Resolves if what is demanded fits, or can be made to fit; rejects with `EDQUOT`. Removes nothing. */
  check(demand: () => CapacityDemand): Promise<void>
  /** Resolves when what is to be secured fits, after evicting what the upstream may evict; rejects with `EDQUOT`. */
  secure(demand: () => CapacityDemand): Promise<void>
  /** So many bytes of an upstream were cached. */
  added(upstream: string, bytes: number): void
}

/** The error for a fill that does not fit. */
export function noCapacity(reason: string): Error {
  return Object.assign(new Error(reason), { code: 'EDQUOT' })
}

/** Capacity without eviction: what the storage has. */
export function capacityOf(storage: Pick<Storage, 'shortage'>): FillCapacity {
  return {
    check: async demand => {
      const { own, others } = demand()
      const shortage = await storage.shortage(others.reduce((sum, each) => sum + each.remaining, own.remaining))
      if (shortage) throw noCapacity(shortage.reason)
    },
    secure: async () => {},
    added: () => {}
  }
}
