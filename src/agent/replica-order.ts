import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { EndpointState } from '../upstream/upstream.ts'

// A node has few requests at once: so many of them do not make a replica slow.
const alwaysRunning = 8
// Beyond that a replica may have so much more than an equal part.
const overload = 1.25
const maxDistrusted = 1_000
// Then the replica is asked again: its scrub may have healed it.
const distrustedForMs = 600_000

interface Weighed {
  replica: EndpointState
  isLocal: boolean
  isBusy: boolean
  isDistrusted: boolean
  weight: string | number
}

/**
 * The order in which replicas are asked for content: healthy ones before unhealthy ones, the local ones before others,
 * the others by rendezvous hashing of what is asked for, so that all nodes read it from the page cache of the same
 * replica. One that is busy comes after those that are not (consistent hashing with bounded loads, Mirrokni et al.
 * 2016), and one that gave wrong bytes for the content after all other healthy ones.
 */
export class ReplicaOrder {
  readonly #local: ReadonlySet<string>
  /** The hosts that gave wrong bytes, by what identifies the content. */
  readonly #distrusted = new LRUCache<string, ReadonlySet<string>>({ max: maxDistrusted, ttl: distrustedForMs, perf: performance })

  /** `local` has the origins of replicas on this node. */
  constructor(local: readonly string[]) {
    this.#local = new Set(local)
  }

  /** The replicas for `path`; without one, as they are listed. */
  of(replicas: readonly EndpointState[], path?: string): URL[] {
    const key = path === undefined ? undefined : contentKey(path)
    const running = replicas.reduce((sum, each) => sum + each.running, 0)
    const capacity = Math.max(alwaysRunning, overload * ((running + 1) / Math.max(replicas.length, 1)))
    const wrong = key === undefined ? undefined : this.#distrusted.get(key)
    return replicas
      .map((replica, at) => this.#weigh(replica, at, { key, capacity, wrong }))
      .sort(compare)
      .map(each => each.replica.url)
  }

  /** Remembers that replicas gave wrong bytes for `path`. */
  distrust(replicas: readonly URL[], path: string): void {
    const key = contentKey(path)
    if (key === undefined) return
    this.#distrusted.set(key, new Set([...(this.#distrusted.get(key) ?? []), ...replicas.map(each => each.host)]))
  }

  #weigh(
    replica: EndpointState,
    at: number,
    { key, capacity, wrong }: { key: string | undefined; capacity: number; wrong: ReadonlySet<string> | undefined }
  ): Weighed {
    const { host, origin } = replica.url
    const isLocal = this.#local.has(origin)
    return {
      replica,
      isLocal,
      isBusy: !isLocal && replica.running >= capacity,
      isDistrusted: wrong?.has(host) ?? false,
      // Without a key they keep their order.
      weight: key === undefined ? -at : hash('sha256', `${key} ${host}`)
    }
  }
}

function compare(a: Weighed, b: Weighed): number {
  return (
    Number(b.replica.healthy) - Number(a.replica.healthy) ||
    Number(a.isDistrusted) - Number(b.isDistrusted) ||
    Number(a.isBusy) - Number(b.isBusy) ||
    Number(b.isLocal) - Number(a.isLocal) ||
    (a.weight < b.weight ? 1 : -1)
  )
}

const content = /\/(?:blobs|manifests)\/([^/?]+)$/

/**
 * What identifies the content behind a path: its digest, in whatever repository it is, or the path of a tag. Undefined
 * for lists, which all are asked of the same replica.
 */
export function contentKey(path: string): string | undefined {
  const whole = path.split('?', 1)[0] ?? path
  const reference = content.exec(whole)?.[1]
  return reference?.includes(':') ? reference : reference && whole
}
