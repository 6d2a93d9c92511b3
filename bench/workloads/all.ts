import type { Workload } from '../bench.ts'
import { blob } from './blob.ts'
import { bystander } from './bystander.ts'
import { containerd } from './containerd.ts'
import { direct } from './direct.ts'
import { etcd } from './etcd.ts'
import { lists } from './lists.ts'
import { manifest } from './manifest.ts'
import { memory } from './memory.ts'
import { proxy } from './proxy.ts'
import { push } from './push.ts'
import { ranges } from './ranges.ts'
import { start } from './start.ts'

/** In the order in which they run. */
export const workloads: readonly Workload[] = [
  blob,
  ranges,
  manifest,
  push,
  proxy,
  direct,
  containerd,
  start,
  memory,
  lists,
  etcd,
  bystander
]
