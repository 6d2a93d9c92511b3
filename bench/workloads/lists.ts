import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from '../../test/long/client.ts'
import { expect } from '../../test/long/push.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import { settle } from '../blob.ts'
import { digestOf } from '../content.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import type { Server } from '../servers/server.ts'
import { measure } from '../usage.ts'

/** Long lists. */
export const lists: Workload = {
  name: 'lists',
  title: 'Lists',
  about:
    'tags/list of a repository with 100,000 tags, and the catalog of 10,000 repositories, to the last page and the first 100; plain HTTP. The servers read the same store in turn, whose directories are in memory.',
  tools: [],
  run
}

const tagCount = 100_000
const nameCount = 10_000
const many = 'many/tags'

interface Case {
  title: string
  path: string
  key: 'tags' | 'repositories'
  /** How many there are to be; Distribution 2.8 knows no pages of tags and may give more. */
  atLeast: number
  pages: 'all' | 'first'
}

const cases: readonly Case[] = [
  { title: 'all tags', path: `/v2/${many}/tags/list`, key: 'tags', atLeast: tagCount, pages: 'all' },
  { title: 'first 100 tags', path: `/v2/${many}/tags/list?n=100`, key: 'tags', atLeast: 100, pages: 'first' },
  { title: 'whole catalog, 1,000 a page', path: '/v2/_catalog?n=1000', key: 'repositories', atLeast: nameCount + 1, pages: 'all' },
  { title: 'first 100 of the catalog', path: '/v2/_catalog?n=100', key: 'repositories', atLeast: 100, pages: 'first' }
]

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  await inFolder(bench, async folder => {
    const root = join(folder, 'root')
    bench.say('making the store')
    await plant(root)
    await settle()
    const prepare = async () => ({ task: { mode: 'Local' as const, root } })
    await withServers(bench, kinds, prepare, async contenders => {
      for (const each of cases) {
        for (const { server } of contenders) await list(server, each)
        await interleave(bench.rounds, contenders, async ({ server }) => {
          const { seconds, cpuSeconds, peakBytes } = await measure(server.pid, () => list(server, each))
          bench.say(`${server.name}: ${each.title}: ${Math.round(seconds * 1000)} ms`)
          record(each.title, server.name, { 'wall ms': seconds * 1000, 'CPU s': cpuSeconds, 'peak RSS MiB': peakBytes / MIB })
        })
      }
    })
  })
}

async function list(server: Server, { path, key, atLeast, pages }: Case): Promise<void> {
  const client = new Client(server.address, 1)
  try {
    const found = new Set<string>()
    for (let next: string | undefined = path; next !== undefined; ) {
      const answer = expect(200, path, await client.ask('GET', next))
      for (const item of JSON.parse(answer.body.toString())[key]) found.add(item)
      const link: string | undefined = /<([^>]+)>/.exec(String(answer.headers['link'] ?? ''))?.[1]
      next = pages === 'all' ? link : undefined
    }
    if (found.size < atLeast) throw new Error(`${server.name} listed ${found.size} of ${atLeast} ${key}`)
  } finally {
    await client.close()
  }
}

// Laid down, not pushed: what is measured is reading.
async function plant(root: string): Promise<void> {
  const repositories = join(root, 'docker/registry/v2/repositories')
  const digest = digestOf(Buffer.from(many))
  const tags = join(repositories, many, '_manifests/tags')
  await mkdir(join(repositories, many, '_layers'), { recursive: true })
  await inBatches(tagCount, async at => {
    const current = join(tags, `v1.${at}`, 'current')
    await mkdir(current, { recursive: true })
    await writeFile(join(current, 'link'), digest)
  })
  await inBatches(nameCount, async at => {
    const repository = join(repositories, `group-${at % 100}`, `image-${at}`)
    await mkdir(join(repository, '_layers'), { recursive: true })
    await mkdir(join(repository, '_manifests'), { recursive: true })
  })
}

async function inBatches(count: number, each: (at: number) => Promise<void>): Promise<void> {
  const batch = 64
  for (let at = 0; at < count; at += batch)
    await Promise.all(Array.from({ length: Math.min(batch, count - at) }, (_, index) => each(at + index)))
}
