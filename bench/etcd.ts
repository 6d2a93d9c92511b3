import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Pool } from 'undici'
import { freePort } from '../test/e2e/place.ts'
import { at } from './head.ts'
import type { Process } from './process.ts'
import { startProcess } from './process.ts'
import { probeOf } from './servers/probe.ts'

/** What etcd had to say about a while. */
export interface EtcdFigures {
  /** Of the puts, in milliseconds. */
  p50: number
  p99: number
  max: number
  /** From its own histograms, in milliseconds: the bound of the bucket that holds the quantile. */
  fsyncP99: number
  commitP99: number
}

const putEvery = 10
const value = Buffer.alloc(1024, 'v').toString('base64')

/** An etcd of one member, and a client that puts one key after another through its JSON gateway. */
export class Etcd {
  readonly #process: Process
  readonly #pool: Pool

  private constructor(process: Process, address: string) {
    this.#process = process
    this.#pool = new Pool(`http://${address}`, { connections: 64 })
  }

  static async start(folder: string): Promise<Etcd> {
    const [client, peer] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    const data = join(folder, 'data')
    await mkdir(data, { mode: 0o700 })
    const args = [
      '--name',
      'bench',
      '--data-dir',
      data,
      '--listen-client-urls',
      `http://${client}`,
      '--advertise-client-urls',
      `http://${client}`
    ]
    const peers = [
      '--listen-peer-urls',
      `http://${peer}`,
      '--initial-advertise-peer-urls',
      `http://${peer}`,
      '--initial-cluster',
      `bench=http://${peer}`
    ]
    const log = join(folder, 'etcd.log')
    const process = await startProcess({ command: 'etcd', args: [...args, ...peers], log, probe: probeOf(client, undefined) })
    return new Etcd(process, client)
  }

  /** Puts 1 KiB every 10 ms while the work goes on, whether or not the puts before have been answered. */
  async during<T>(work: () => Promise<T>): Promise<EtcdFigures & { result: T }> {
    const before = await this.#histograms()
    const puts: Promise<number>[] = []
    const timer = setInterval(() => puts.push(this.#put(`/bench/${puts.length % 1000}`)), putEvery)
    let result: T
    try {
      result = await work()
    } finally {
      clearInterval(timer)
    }
    const times = (await Promise.all(puts)).sort((a, b) => a - b)
    const after = await this.#histograms()
    const own = (name: string) => quantile(bucketsOf(before, name), bucketsOf(after, name), 0.99) * 1000
    return {
      result,
      p50: at(times, 0.5),
      p99: at(times, 0.99),
      max: at(times, 1),
      fsyncP99: own('etcd_disk_wal_fsync_duration_seconds'),
      commitP99: own('etcd_disk_backend_commit_duration_seconds')
    }
  }

  async stop(): Promise<void> {
    await this.#pool.destroy()
    await this.#process.stop()
  }

  async #put(key: string): Promise<number> {
    const began = performance.now()
    const body = JSON.stringify({ key: Buffer.from(key).toString('base64'), value })
    const answer = await this.#pool.request({ method: 'POST', path: '/v3/kv/put', body })
    await answer.body.dump()
    if (answer.statusCode !== 200) throw new Error(`etcd answered a put with ${answer.statusCode}`)
    return performance.now() - began
  }

  async #histograms(): Promise<string> {
    return await (await this.#pool.request({ method: 'GET', path: '/metrics' })).body.text()
  }
}

interface Bucket {
  bound: number
  count: number
}

function bucketsOf(metrics: string, name: string): Bucket[] {
  return [...metrics.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\S+)$`, 'gm'))].map(([, bound, count]) => ({
    bound: bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound),
    count: Number(count)
  }))
}

/** The upper bound of the bucket that holds the quantile of what came between two looks at a cumulative histogram. */
function quantile(before: readonly Bucket[], after: readonly Bucket[], part: number): number {
  const counts = after.map(({ bound, count }, index) => ({ bound, count: count - (before[index]?.count ?? 0) }))
  const total = counts.at(-1)?.count ?? 0
  return counts.find(({ count }) => count >= total * part)?.bound ?? Number.NaN
}
