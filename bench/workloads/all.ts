import type { Workload } from '../bench.ts'
import { agent } from './agent.ts'
import { blob, blobTls } from './blob.ts'
import { bystander } from './bystander.ts'
import { bystanderAttacks } from './bystander-attacks.ts'
import { containerd } from './containerd.ts'
import { direct, directTls } from './direct.ts'
import { etcd } from './etcd.ts'
import { lists } from './lists.ts'
import { manifest } from './manifest.ts'
import { memory } from './memory.ts'
import { mirror } from './mirror.ts'
import { proxy, proxyTls } from './proxy.ts'
import { push } from './push.ts'
import { ranges } from './ranges.ts'
import { s3 } from './s3.ts'
import { start } from './start.ts'

/** In the order in which they run. */
export const workloads: readonly Workload[] = [
  blob,
  blobTls,
  ranges,
  manifest,
  push,
  mirror,
  s3,
  proxy,
  proxyTls,
  direct,
  directTls,
  containerd,
  agent,
  start,
  memory,
  lists,
  etcd,
  bystander,
  bystanderAttacks
]
