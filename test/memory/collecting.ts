import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import { createYield } from '../../src/content/gc/yield.ts'
import { FilesystemStorage } from '../../storage/fs/filesystem.ts'

/** What a collection took: ms, the most memory in bytes, and how many blobs went. */
export interface Measured {
  ms: number
  rss: number
  removed: number
}

const self = fileURLToPath(import.meta.url)

/** Collects a store in a process of its own, with Node's options of `npm start`. */
export async function measureCollection(root: string): Promise<Measured> {
  const child = spawn(process.execPath, ['--max-semi-space-size=1', '--max-old-space-size=256', self, root], {
    env: { ...process.env, NODE_OPTIONS: '', MALLOC_ARENA_MAX: '1', UV_THREADPOOL_SIZE: '16' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  return JSON.parse((await child.stdout.toArray()).join(''))
}

async function main(root: string): Promise<void> {
  const storage = await FilesystemStorage.open(root)
  const content = openContent(storage, () => {})
  const yielder = createYield(new AbortController().signal, () => false)
  let measured: Measured | undefined
  for await (const event of collect(storage, content, { grace: 3_600_000, unreferencedCached: 'sweep', yielder })) {
    if (event.type === 'done') measured = { ms: event.ms, removed: event.removed.blob, rss: process.resourceUsage().maxRSS * 1024 }
  }
  await storage.close()
  process.stdout.write(JSON.stringify(measured))
}

if (process.argv[1] === self) await main(process.argv[2] ?? '')
