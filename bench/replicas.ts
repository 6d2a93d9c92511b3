import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pki } from '../test/e2e/pki.ts'
import type { Content } from './content.ts'
import type { Balancer } from './servers/balancers.ts'
import { ours } from './servers/ours.ts'
import type { Server } from './servers/server.ts'

/** Loopback addresses, one for each replica, so that each can be cut off. */
export const replicaHosts = ['127.0.0.11', '127.0.0.12', '127.0.0.13'] as const

/** The registries of a cluster with the same content, and what a node has before them. */
export interface Cluster {
  readonly replicas: readonly Server[]
  /** What a node's containerd is told, in order. */
  readonly mirrors: readonly Server[]
  /** Undefined where there is none. */
  readonly balancer: Server | undefined
}

/** Starts three replicas over TLS in a folder and a balancer before them, and stops all of it when the work is done. */
export async function withCluster<T>(
  folder: string,
  { balancer, contents, pki }: { balancer: Balancer; contents: readonly Content[]; pki: Pki },
  work: (cluster: Cluster) => Promise<T>
): Promise<T> {
  const running: Server[] = []
  try {
    for (const host of replicaHosts) {
      const place = join(folder, host)
      const root = join(place, 'root')
      await mkdir(root, { recursive: true })
      for (const content of contents) await ours.plant(root, content)
      running.push(await ours.start({ folder: place, task: { mode: 'Local', root }, pki, host }))
    }
    const replicas = [...running]
    const before = await balancer.start?.(folder, replicas, pki)
    if (before) running.push(before)
    return await work({ replicas, mirrors: before ? [before] : replicas, balancer: before })
  } finally {
    await Promise.all(running.map(each => each.stop()))
  }
}
