import type { Workload } from '../bench.ts'
import { blob } from './blob.ts'
import { manifest } from './manifest.ts'
import { push } from './push.ts'

/** In the order in which they run. */
export const workloads: readonly Workload[] = [blob, manifest, push]
