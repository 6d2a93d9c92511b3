import { hash } from 'node:crypto'
import type { EndpointState } from '../upstream/upstream.ts'

// A node has few requests at once: so many of them do not make a replica slow.
const alwaysRunning = 8
// Beyond that a replica may have so much more than an equal part.
const overload = 1.25

/**
 * The order in which replicas are asked for content: healthy ones before unhealthy ones, the local ones before others,
 * the others by rendezvous hashing of what is asked for, so that all nodes read it from the page cache of the same
 * replica. One that is busy comes after those that are not (consistent hashing with bounded loads, Mirrokni et al.
 * 2016). `local` has origins.
 */
export function replicaOrder(local: ReadonlySet<string>): (replicas: readonly EndpointState[], path?: string) => URL[] {
  return (replicas, path) => {
    const key = path === undefined ? undefined : contentKey(path)
    const weighed = replicas.map((replica, at) => ({
      replica,
      isLocal: local.has(replica.url.origin),
      weight: weightOf(replica.url, key, at)
    }))
    const running = replicas.reduce((sum, each) => sum + each.running, 0)
    const capacity = Math.max(alwaysRunning, overload * ((running + 1) / Math.max(replicas.length, 1)))
    const isBusy = ({ replica, isLocal }: (typeof weighed)[number]) => !isLocal && replica.running >= capacity
    return weighed
      .sort(
        (a, b) =>
          Number(b.replica.healthy) - Number(a.replica.healthy) ||
          Number(isBusy(a)) - Number(isBusy(b)) ||
          Number(b.isLocal) - Number(a.isLocal) ||
          (a.weight < b.weight ? 1 : -1)
      )
      .map(each => each.replica.url)
  }
}

// Without a key they keep the order of the settings.
function weightOf(url: URL, key: string | undefined, at: number): string | number {
  return key === undefined ? -at : hash('sha256', `${key} ${url.host}`)
}

/** What identifies the content behind a path: its digest, in whatever repository it is, else the path. */
export function contentKey(path: string): string {
  const whole = path.split('?', 1)[0] ?? path
  const last = whole.slice(whole.lastIndexOf('/') + 1)
  return last.includes(':') ? last : whole
}
