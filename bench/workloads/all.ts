import type { Workload } from '../bench.ts'
import { blob } from './blob.ts'
import { direct } from './direct.ts'
import { manifest } from './manifest.ts'
import { memory } from './memory.ts'
import { proxy } from './proxy.ts'
import { push } from './push.ts'
import { start } from './start.ts'

/** In the order in which they run. */
export const workloads: readonly Workload[] = [blob, manifest, push, proxy, direct, start, memory]
