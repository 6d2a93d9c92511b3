import type { FeedPosition } from './messages.ts'

/** What is kept of a peer between two runs of the process. */
interface StoredPeer {
  position: FeedPosition
  /** See `Peer.covered`. */
  covered: number
}

// Restarts of a peer that are told from a second replica of its name.
const maxFormer = 64

/** What a replica knows of a peer. */
export class Peer {
  readonly name: string
  /** Where this replica is in the peer's feed: all before it is durable here. */
  position: FeedPosition = { incarnation: '', seq: 0 }
  /** The peer's collection of tombstones up to which none was missed here; by the cluster clock, 0 for none. */
  covered = 0
  /** Where the peer is in the feed here; absent until it asked in this incarnation. */
  acknowledged: number | undefined
  /** The incarnation that asked last, and those before. */
  asking: string | undefined
  readonly former = new Set<string>()
  /** The collection of tombstones here up to which the peer has missed none. */
  covers = 0
  /** Whether this incarnation has compared itself with the peer. */
  compared = false
  /** Whether the last question was answered; undefined before the first. */
  reachable: boolean | undefined
  /** Why it was not. */
  reason: string | undefined
  /** When it last answered, by the monotonic clock. */
  answeredAt = Number.NEGATIVE_INFINITY
  /** When the inventory was last compared, by the monotonic clock. */
  inventoriedAt = Number.NEGATIVE_INFINITY
  /** The last place of its feed, and whether both tables were equal at its last answer. */
  head = 0
  equal = false

  constructor(name: string, stored?: string) {
    this.name = name
    if (stored === undefined) return
    const { position, covered } = JSON.parse(stored) as StoredPeer
    this.position = position
    this.covered = covered
  }

  /** What to keep; `position` once it holds. */
  stored(position: FeedPosition = this.position): string {
    return JSON.stringify({ position, covered: this.covered } satisfies StoredPeer)
  }

  /** Whether everything up to `seq` of the feed here is durable at the peer. */
  has(seq: number): boolean {
    return this.acknowledged !== undefined && this.acknowledged >= seq
  }

  /**
   * The peer asks, as this incarnation. False if a later incarnation has asked before: then two replicas have one name.
   */
  asks(incarnation: string): boolean {
    if (incarnation === this.asking) return true
    if (this.former.has(incarnation)) return false
    if (this.asking !== undefined) this.former.add(this.asking)
    const [oldest] = this.former
    if (oldest !== undefined && this.former.size > maxFormer) this.former.delete(oldest)
    // What another incarnation had may be gone.
    this.acknowledged = undefined
    this.asking = incarnation
    return true
  }
}

/** The name of the fact in which a peer is kept. */
export const peerFact = (name: string): string => `peer ${name}`
