import type { Results } from './results.ts'
import { ratio, summarize } from './results.ts'

/** What a measure is to be: of ours alone, or as a ratio of ours to a peer's. */
export interface Target {
  workload: string
  case: string
  measure: string
  peer?: string
  atLeast?: number
  atMost?: number
}

/** What became of a target; undefined where it was not measured. */
export interface Verdict extends Target {
  value: number | undefined
  met: boolean | undefined
}

const speed = { measure: 'MiB/s' }
const wall = { measure: 'wall s' }

// Beside attackers: what an honest client keeps, and what the process takes.
const besieged = [
  'pipelined wrong passwords',
  'wrong passwords of a neighbour',
  'idle connections up to the limit',
  'manifests that are never read',
  'lists that are never read',
  'unfinished manifests',
  'bodies that trickle'
].flatMap((title): Target[] => {
  const common = { workload: 'bystander-attacks', case: title }
  return [
    { ...common, measure: 'kept', atLeast: 0.8 },
    { ...common, measure: 'p99 ms', atMost: 50 },
    { ...common, measure: 'peak RSS MiB', atMost: 256 },
    { ...common, measure: 'left fds', atMost: 0 }
  ]
})

export const targets: readonly Target[] = [
  { workload: 'blob', case: 'HTTP, 4 clients', ...speed, peer: 'docker-registry', atLeast: 1.25 },
  { workload: 'blob', case: 'HTTP, 4 clients', ...speed, peer: 'nginx', atLeast: 1.15 },
  { workload: 'blob-tls', case: 'TLS, 4 clients', ...speed, peer: 'docker-registry', atLeast: 1.7 },
  { workload: 'blob-tls', case: 'TLS, 4 clients', ...speed, peer: 'nginx', atLeast: 1.15 },
  { workload: 'manifest', case: 'manifest by tag', measure: 'requests/s', peer: 'docker-registry', atLeast: 12 },
  { workload: 'manifest', case: 'manifest by tag', measure: 'p99 ms', peer: 'docker-registry', atMost: 0.25 },
  { workload: 'push', case: 'whole', ...speed, peer: 'docker-registry', atLeast: 1.6 },
  { workload: 'mirror', case: 'into an empty registry', ...wall, peer: 'tar and skopeo', atMost: 0.6 },
  { workload: 'mirror', case: 'into an empty registry', measure: 'peak RSS MiB', atMost: 150 },
  { workload: 'mirror', case: 'into an empty registry', measure: 'extra disk MiB', atMost: 0 },
  { workload: 'mirror', case: 'again', ...wall, atMost: 2 },
  { workload: 'mirror', case: 'verify', ...speed, peer: 'sha256sum', atLeast: 0.8 },
  { workload: 'proxy', case: 'cold, HTTP, 8 clients', measure: 'downloads', atMost: 1 },
  { workload: 'proxy', case: 'cold, HTTP, 8 clients', ...wall, peer: 'docker-registry', atMost: 0.6 },
  { workload: 'proxy-tls', case: 'cold, TLS, 4 clients', ...wall, peer: 'docker-registry', atMost: 0.45 },
  { workload: 'proxy-tls', case: 'cold, TLS, 4 clients', measure: 'CPU s', peer: 'docker-registry', atMost: 0.4 },
  { workload: 'proxy-tls', case: 'cold, TLS, 8 clients', ...wall, peer: 'docker-registry', atMost: 0.35 },
  { workload: 'proxy-tls', case: 'cold, TLS, 8 clients', measure: 'CPU s', peer: 'docker-registry', atMost: 0.4 },
  { workload: 'direct-tls', case: 'TLS, 4 clients', ...speed, peer: 'nginx', atLeast: 0.9 },
  { workload: 'etcd', case: 'push', measure: 'put p99 ms', atMost: 10 },
  { workload: 'etcd', case: 'push', measure: 'put max ms', atMost: 100 },
  { workload: 'etcd', case: 'push', ...speed, peer: 'docker-registry', atLeast: 1.3 },
  { workload: 'etcd', case: 'fill', measure: 'put p99 ms', atMost: 10 },
  { workload: 'etcd', case: 'fill', measure: 'put max ms', atMost: 100 },
  { workload: 'etcd', case: 'fill', ...speed, peer: 'docker-registry', atLeast: 1.3 },
  { workload: 'agent', case: 'at rest', measure: 'RSS MiB', atMost: 70 },
  { workload: 'agent', case: 'at rest', measure: 'private MiB', atMost: 35 },
  { workload: 'agent', case: 'at rest', measure: 'start ms', atMost: 250 },
  { workload: 'agent', case: 'at rest', measure: 'idle CPU %', atMost: 0.3 },
  { workload: 'agent', case: 'a manifest', measure: 'added p99 ms', atMost: 1 },
  { workload: 'agent', case: '8 pulls', measure: 'peak RSS MiB', atMost: 110 },
  { workload: 'agent', case: '10 images', ...wall, peer: 'no balancer', atMost: 1.1 },
  ...(['killed', 'frozen', 'cut off'] as const).flatMap((blow): Target[] => [
    { workload: 'agent', case: `a layer, its replica ${blow}`, measure: 'stall s', atMost: blow === 'cut off' ? 5 : 2 },
    { workload: 'agent', case: `a layer, its replica ${blow}`, measure: 'failed pulls', atMost: 0 }
  ]),
  { workload: 'start', case: 'Local', measure: 'start ms', atMost: 400 },
  { workload: 'start', case: 'Local', measure: 'RSS at rest MiB', atMost: 100 },
  { workload: 'memory', case: 'HTTP', measure: 'peak RSS MiB', atMost: 180 },
  { workload: 'memory', case: 'TLS', measure: 'peak RSS MiB', atMost: 180 },
  ...besieged
]

/** Compares the medians with the targets of a workload. */
export function judge(results: Results, workload: string): Verdict[] {
  return targets.filter(target => target.workload === workload).map(target => ({ ...target, ...verdictOf(results, target) }))
}

function verdictOf(results: Results, target: Target): Pick<Verdict, 'value' | 'met'> {
  const { peer, measure, atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = target
  const mine = results.find(target.workload, target.case, 'ours')
  const value = mine && (peer === undefined ? summarize(mine, measure)?.median : ratio(results, mine, peer, measure))
  return { value, met: value === undefined ? undefined : value >= atLeast && value <= atMost }
}

/** A verdict as a row: what, what it is to be, what it is. */
export function describeVerdict({ case: title, measure, peer, atLeast, atMost, value, met }: Verdict): string[] {
  const bound = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`
  const what = peer === undefined ? `${measure} of ours` : `${measure}, ours ÷ ${peer}`
  const word = met === undefined ? 'not measured' : met ? 'met' : 'not met'
  return [title, what, bound, value === undefined ? '' : value.toFixed(2), word]
}
