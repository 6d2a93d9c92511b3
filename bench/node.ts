import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { must, type RunOptions } from '../test/e2e/command.ts'
import { containerd1, host } from '../test/e2e/containerd.ts'
import type { Bench } from './bench.ts'
import type { Blob } from './blob.ts'
import { FreshBlobs } from './blob.ts'
import type { Content } from './content.ts'
import { digestOf, makeManifest } from './content.ts'
import { startProcess } from './process.ts'
import { platformPath } from './servers/ours.ts'
import type { Upstream } from './servers/server.ts'

/** A node's containerd with an empty store, which gets the platform from its mirrors and unpacks nothing. */
export interface Node {
  /** Fetches an image; rejects when that fails, or is given up. */
  fetch(content: Content, signal?: AbortSignal): Promise<void>
  /** Blobs of these that have not arrived. */
  absent(contents: readonly Content[]): Promise<number>
  /** Where bytes are that are not whole yet. */
  readonly ingest: string
  stop(): Promise<void>
}

const fetchLimit = 300_000

/** Starts containerd in a folder; `mirrors` are asked in this order, over TLS. */
export async function startNode(folder: string, mirrors: readonly Upstream[]): Promise<Node> {
  const hosts = join(folder, 'hosts')
  await mkdir(join(hosts, host), { recursive: true })
  await writeFile(join(hosts, host, 'hosts.toml'), hostsToml(mirrors))
  const file = join(folder, 'config.toml')
  await writeFile(file, containerd1.config({ folder, hosts }))
  const ctr = (args: readonly string[], options: RunOptions = {}) =>
    must('ctr', ['--address', join(folder, 'containerd.sock'), ...args], { limit: fetchLimit, ...options })
  const running = await startProcess({
    command: 'containerd',
    args: ['--config', file],
    log: join(folder, 'containerd.log'),
    probe: async () => void (await ctr(['version'], { limit: 5000 }))
  })
  return {
    fetch: async ({ name }, signal) =>
      void (await ctr(['content', 'fetch', '--all-platforms', '--hosts-dir', hosts, `${host}/${name}:v1`], signal ? { signal } : {})),
    absent: async contents => {
      const stored = (await ctr(['content', 'ls', '--quiet'])).trim().split('\n')
      return contents.flatMap(({ blobs }) => blobs).filter(({ digest }) => !stored.includes(digest)).length
    },
    ingest: join(folder, 'root/io.containerd.content.v1.content/ingest'),
    stop: () => running.stop()
  }
}

function hostsToml(mirrors: readonly Upstream[]): string {
  const urls = mirrors.map(({ address }) => `https://${address}`)
  const sections = mirrors.map(({ ca }, at) => `[host."${urls[at]}"]\n  capabilities = ["pull", "resolve"]\n  ca = "${ca}"\n`)
  return `server = "${urls.at(-1)}"\n${sections.join('')}`
}

/** The images of the platform, 1.8 GiB at full size. */
export async function makeImages({ large }: Bench, folder: string): Promise<readonly Content[]> {
  const contents: Content[] = []
  for (let at = 0; at < imageCount; at++) contents.push(await makeImage(large, folder, at))
  return contents
}

/** How many they are. */
export const imageCount = 10
// 184 MiB at full size, as parts of the large blob.
const layers = [100, 50, 25, 8, 1].map(mib => mib / 1024)

async function makeImage(large: number, folder: string, at: number): Promise<Content> {
  const blobs: Blob[] = [await makeConfig(join(folder, `config-${at}`), at)]
  for (const [index, part] of layers.entries()) {
    const fresh = await FreshBlobs.make(join(folder, `layer-${at}-${index}`), Math.round(part * large))
    blobs.push(await fresh.next())
  }
  return { name: `${platformPath}/image-${at}`, blobs, manifests: [makeManifest(blobs, 'v1')] }
}

/** A config that no other image has. */
export async function makeConfig(file: string, at: number): Promise<Blob> {
  const config = { os: 'linux', architecture: 'amd64', config: { Labels: { at: `${at}` } }, rootfs: { type: 'layers', diff_ids: [] } }
  const bytes = Buffer.from(JSON.stringify(config))
  await writeFile(file, bytes)
  return { file, digest: digestOf(bytes), size: bytes.length }
}

/** Bytes of all blobs. */
export function bytesOf(contents: readonly Content[]): number {
  return contents.flatMap(({ blobs }) => blobs).reduce((sum, { size }) => sum + size, 0)
}
