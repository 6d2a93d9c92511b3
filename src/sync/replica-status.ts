import type { Applier } from './applier.ts'
import type { ClusterClock } from './cluster-clock.ts'
import type { Peer } from './peer.ts'
import type { Table } from './table/table.ts'

/** What is said of a peer. Counts are of entries. */
export interface PeerStatus {
  name: string
  state: 'equal' | 'behind' | 'unreachable' | 'not asked yet'
  /** Changes of the peer that have not come here, and changes here that the peer does not have. */
  behind: number
  ahead: number
  /** Seconds since its last answer. */
  answeredSeconds?: number
  clockAheadMs?: number
  reason?: string
}

/** What is said of a replica. */
export interface ReplicaStatus {
  name: string
  incarnation: string
  /** Whether it knows what the others have, so that it can tell what exists. */
  ready: boolean
  /** Entries, and those whose content is not here yet. */
  entries: number
  incomplete: number
  /** Seconds that the oldest of them has waited. */
  oldestSeconds?: number
  clockAheadMs: number
  peers: PeerStatus[]
}

/** What the status is made of. */
interface StatusDeps {
  name: string
  incarnation: string
  table: Table
  applier: Applier
  clusterClock: ClusterClock
  peers: readonly Peer[]
  reconciled: boolean
  /** By the monotonic clock. */
  now: number
}

/** Describes a replica. */
export function statusOf({ name, incarnation, table, applier, clusterClock, peers, reconciled, now }: StatusDeps): ReplicaStatus {
  let oldest = Number.POSITIVE_INFINITY
  if (applier.backlog > 0) for (const [, { state, since }] of table.rows()) if (state === 'pending') oldest = Math.min(oldest, since)
  return {
    name,
    incarnation,
    ready: reconciled && (peers.length === 0 || peers.some(each => each.compared)),
    entries: table.size,
    incomplete: applier.backlog,
    ...(Number.isFinite(oldest) ? { oldestSeconds: Math.max(0, Math.round((clusterClock.now() - oldest) / 1_000)) } : {}),
    clockAheadMs: clusterClock.aheadMs,
    peers: peers.map(each => describePeer(each, table, clusterClock, now))
  }
}

function describePeer(peer: Peer, table: Table, clusterClock: ClusterClock, now: number): PeerStatus {
  const { name, reachable, equal, head, position, acknowledged, answeredAt, reason } = peer
  const clockAheadMs = clusterClock.aheadOf(name)
  return {
    name,
    state: reachable === undefined ? 'not asked yet' : !reachable ? 'unreachable' : equal ? 'equal' : 'behind',
    behind: Math.max(0, head - position.seq),
    ahead: Math.max(0, table.journal.head - (acknowledged ?? 0)),
    ...(Number.isFinite(answeredAt) ? { answeredSeconds: Math.round((now - answeredAt) / 1_000) } : {}),
    ...(clockAheadMs === undefined ? {} : { clockAheadMs }),
    ...(reason === undefined ? {} : { reason })
  }
}
