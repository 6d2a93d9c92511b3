import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { startDistribution } from './distribution.ts'
import { users } from './htpasswd.ts'
import type { SampleImage } from './image.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Registry, Settings } from './registry.ts'
import { ask } from './request.ts'
import { skopeo } from './skopeo.ts'

/** The repository upstream that `system/deckhouse` stands for. */
export const upstreamName = 'deckhouse/ee'

/** A request that docker-registry has answered. */
export interface Answered {
  method: string
  path: string
  status: number
}

/** Debian's docker-registry with Basic auth and a certificate of an authority that nobody knows. */
export async function startUpstream(t: Test): Promise<Registry> {
  const pki = await makePki(await temporaryFolder(t))
  return await startDistribution(t, { root: await temporaryFolder(t), pki, users })
}

/** Pushes the layout's `image` into the upstream repository. */
export async function pushUpstream(upstream: Registry, { layout }: SampleImage, tag: string): Promise<void> {
  const target = `docker://${upstream.address}/${upstreamName}:${tag}`
  const options = ['--preserve-digests', '--dest-tls-verify=false', '--dest-creds', `rw:${users.rw.password}`]
  await skopeo(['copy', ...options, `oci:${layout.folder}:image`, target])
}

/** The settings of a mode whose upstream this is; `endpoint` is asked in its place. */
export async function modeSettings(mode: 'Direct' | 'Proxy' | 'Local', upstream: Registry, endpoint?: string): Promise<Settings> {
  const section = {
    imagesRepo: `${upstream.address}/${upstreamName}`,
    username: 'ro',
    password: users.ro.password,
    ca: await readFile(upstream.ca ?? '', 'utf8'),
    ...(endpoint === undefined ? {} : { endpoints: [endpoint] })
  }
  // A tag is never believed without asking, so that each pull by tag shows what becomes of the question.
  return { registry: { mode, ...(mode === 'Local' ? {} : { [mode.toLowerCase()]: section }) }, cache: { tagTTL: '0s' } }
}

/** Every request that the upstream has answered so far, from its access log. */
export async function answered(upstream: Registry): Promise<Answered[]> {
  // A line is written after its answer was sent: one that is asked for last has to appear before the others are counted.
  const mark = `/v2/?mark=${randomUUID()}`
  await ask(upstream, { path: mark })
  while (!upstream.log().includes(mark)) await sleep(20)
  const lines = upstream.log().matchAll(/"([A-Z]+) (\S+) HTTP\/[\d.]+" (\d{3}) /g)
  const all = [...lines].map(([, method = '', path = '', status]) => ({ method, path, status: Number(status) }))
  return all.filter(({ path }) => !path.includes('?mark='))
}

/** How often each blob was sent, whole or in part, by digest. */
export async function downloads(upstream: Registry): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { method, path, status } of await answered(upstream)) {
    const digest = /\/blobs\/(sha256:[0-9a-f]+)$/.exec(path)?.[1]
    if (digest !== undefined && method === 'GET' && status < 300) counts[digest] = (counts[digest] ?? 0) + 1
  }
  return counts
}

/** What `downloads` is when each blob of the image was sent once. */
export async function onceEach({ layout, image }: SampleImage): Promise<Record<string, number>> {
  return Object.fromEntries((await layout.digests()).filter(digest => digest !== image.digest).map(digest => [digest, 1]))
}

/** The folder under a root that holds what clients can read. */
export function contentFolder(root: string): string {
  return join(root, 'docker/registry/v2')
}
