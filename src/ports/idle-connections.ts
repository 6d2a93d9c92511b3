/** A connection as it counts for its address. */
export interface CountedConnection {
  /** The address, or the network, that it counts for. */
  readonly key: string
  /** Whether no request of it is under way, be it that its TLS handshake or its first head is not finished. */
  readonly idle: boolean
  /** When its last request began; when it was accepted if there was none. */
  readonly usedAtMs: number
}

/** A connection that may be closed for a new one. */
export interface Closable<C extends CountedConnection> {
  readonly connection: C
  readonly usedAtMs: number
  /** It became idle a moment ago: it is closed only for an address that has no more than its share. */
  readonly young: boolean
}

/** What can be closed. */
export interface ClosableConnections<C extends CountedConnection> {
  /** The order in which connections are closed; the last one is the first. */
  readonly closable: Closable<C>[]
  /** Connections of each address, the one of the new connection included. */
  readonly counts: Map<string, number>
}

// An honest client sends its head, or its next one, within this time, unless the network is slow.
const youngMs = 1_000
// Of one search: it looks at every connection, and is made when the port is full.
const maxClosable = 64

/**
 * The connections to close when a port of `max` connections is full and `newKey` opens one more: always the longest
 * idle one of the address that has the most idle connections. No number of connections of one address is too high by
 * itself: a cluster may stand behind it.
 */
export function closableConnections<C extends CountedConnection>(
  connections: Iterable<C>,
  { max, newKey, nowMs }: { max: number; newKey: string; nowMs: number }
): ClosableConnections<C> {
  const counts = new Map([[newKey, 0]])
  const idle = new Map<string, C[]>()
  for (const connection of connections) {
    const { key } = connection
    counts.set(key, (counts.get(key) ?? 0) + 1)
    if (!connection.idle) continue
    const ofKey = idle.get(key)
    if (ofKey) ofKey.push(connection)
    else idle.set(key, [connection])
  }
  const share = max / counts.size
  // The longest idle one is the last.
  const groups = [...idle.values()].map(group => group.sort((a, b) => b.usedAtMs - a.usedAtMs))
  const closable: Closable<C>[] = []
  while (closable.length < maxClosable) {
    const connection = takeLongestIdle(groups, share, nowMs)
    if (!connection) break
    closable.push({ connection, usedAtMs: connection.usedAtMs, young: isYoung(connection, nowMs) })
  }
  return { closable: closable.reverse(), counts }
}

function takeLongestIdle<C extends CountedConnection>(groups: readonly C[][], share: number, nowMs: number): C | undefined {
  let most: C[] | undefined
  for (const group of groups) {
    const longest = group.at(-1)
    if (!longest || group.length <= (most?.length ?? 0)) continue
    if (!isYoung(longest, nowMs) || group.length > share) most = group
  }
  return most?.pop()
}

function isYoung({ usedAtMs }: CountedConnection, nowMs: number): boolean {
  return nowMs - usedAtMs < youngMs
}
