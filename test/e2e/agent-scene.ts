import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { securePool, startAgent } from '../agent/agent.ts'
import { type Image, makeImage, repository } from '../agent/content.ts'
import { hosts, startReplicas } from '../agent/replicas.ts'
import { MIB } from '../agent/scene.ts'
import type { ServerOptions } from '../long/server.ts'
import { type Containerd, host } from './containerd.ts'
import { users } from './htpasswd.ts'
import type { Mode, Node } from './modes-node.ts'
import { modeSettings, pushUpstream, startUpstream } from './modes-upstream.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import { hasTools, isRoot } from './tool.ts'

/** The image, as a node names it. */
export const reference = `${host}/${repository}:v1`

/** Whether the test can run here with this containerd; it is marked as skipped if not. */
export function ready(t: Test, version: Containerd, ...more: readonly string[]): boolean {
  return isRoot(t) && hasTools(t, 'openssl', version.daemon, version.client, ...more)
}

interface SceneOptions {
  mode?: Mode
  size?: number
  /** Of each replica, a second; unlimited if left out. */
  egress?: string
}

/** Three replicas in a mode, an image that they have or their upstream has, and an agent before them. */
export async function startScene(t: Test, { mode = 'Local', size = 4 * MIB, egress }: SceneOptions = {}) {
  const folder = await temporaryFolder(t)
  const pki = await makePki(folder, ['127.0.0.1', ...hosts])
  const image = await makeImage(join(folder, 'image'), size)
  const images = mode === 'Local' ? [image] : []
  const sections = {
    ...(mode === 'Local' ? {} : await upstreamSections(t, mode, image)),
    ...(egress === undefined ? {} : { limits: { egress } })
  }
  const replicas = await startReplicas(t, { folder, pki, images, sections })
  const pool = await securePool(replicas, pki, folder)
  const passwordFile = join(folder, 'node-password')
  await writeFile(passwordFile, users.ro.password)
  const tls = { certificate: pki.certificate, key: pki.key }
  const agent = await startAgent(t, { pools: [pool], more: { tls, clients: { username: 'ro', passwordFile } } })
  return { image, replicas, pool, agent, passwordFile, registry: { address: agent.address, ca: pki.ca } }
}

async function upstreamSections(t: Test, mode: Mode, { sample }: Image): Promise<ServerOptions['sections']> {
  const upstream = await startUpstream(t)
  await pushUpstream(upstream, sample, 'v1')
  const { registry, cache } = await modeSettings(mode, upstream)
  return { registry: { ...registry }, cache: { ...cache } }
}

/** Pulls, checks that the node holds the whole image and nothing else, and removes it again. */
export async function pullsWhole(t: Test, node: Node, { sample }: Image, what: string): Promise<void> {
  const { code, stderr } = await node.pull(reference)
  if (code !== 0) return void t.fail(`${what}: ${stderr}`)
  t.same(await node.content(), await sample.layout.digests(), what)
  await node.forget()
}
