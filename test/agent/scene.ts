import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { makePki } from '../e2e/pki.ts'
import { type Answer, ask, digestOf } from '../src/support.ts'
import { securePool } from './agent.ts'
import { type Image, makeImage, pathOf } from './content.ts'
import { type Front, startFront } from './front.ts'
import { hosts, type Replica, type ReplicaOptions, startReplicas } from './replicas.ts'

export const MIB = 2 ** 20

/** A new folder that outlives what the test starts in it. */
export async function scenePlace(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'registry-agent-'))
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** Three replicas that have the same image. */
export interface Cluster {
  folder: string
  image: Image
  replicas: readonly [Replica, Replica, Replica]
}

/** Starts three replicas with an image whose large layer has so many bytes. */
export async function startCluster(t: Test, size: number, options: Omit<ReplicaOptions, 'folder' | 'images'> = {}): Promise<Cluster> {
  const folder = await scenePlace(t)
  const image = await makeImage(join(folder, 'image'), size)
  return { folder, image, replicas: await startReplicas(t, { folder, images: [image], ...options }) }
}

/** The same over TLS, with users, and the pool of an agent that knows them. */
export async function startSecureCluster(t: Test, size: number, sections: ReplicaOptions['sections'] = {}) {
  const folder = await scenePlace(t)
  const [image, pki] = [await makeImage(join(folder, 'image'), size), await makePki(folder, ['127.0.0.1', ...hosts])]
  const replicas = await startReplicas(t, { folder, images: [image], pki, sections })
  return { folder, image, pki, replicas, pool: await securePool(replicas, pki, folder) }
}

/** A front before each replica, for one test. */
export async function startFronts(t: Test, { replicas }: Pick<Cluster, 'replicas'>): Promise<readonly [Front, Front, Front]> {
  const [first, second, third] = replicas
  // Addresses of their own, so that a fault is never taken for one of the replica.
  const at = (index: number) => (hosts[index] ?? '').replace(/1(\d)$/, '2$1')
  return [await startFront(t, at(0), first.address), await startFront(t, at(1), second.address), await startFront(t, at(2), third.address)]
}

/** A request of a pull, and what its answer is to be. */
export interface PullRequest {
  title: string
  method: 'GET' | 'HEAD'
  path: string
  headers?: Record<string, string>
  status: number
  digest: string
  /** Of the body, or what a HEAD declares. */
  length: number
  /** The part of the bytes of `digest` that is sent. */
  part?: [from: number, to: number]
}

/** Each kind of request that a node sends for an image. */
export function pullRequests({ manifest, large }: Image): PullRequest[] {
  const range: [number, number] = [large.size - 70_000, large.size]
  const both = (title: string, path: string, { digest, size }: { digest: string; size: number }): PullRequest[] => [
    { title: `HEAD of ${title}`, method: 'HEAD', path, status: 200, digest, length: size },
    { title: `GET of ${title}`, method: 'GET', path, status: 200, digest, length: size }
  ]
  const blob = pathOf('blobs', large.digest)
  return [
    ...both('a tag', pathOf('manifests', 'v1'), manifest),
    ...both('a manifest by digest', pathOf('manifests', manifest.digest), manifest),
    ...both('a blob', blob, large),
    {
      title: 'a range of a blob',
      method: 'GET',
      path: blob,
      headers: { range: `bytes=${range[0]}-` },
      status: 206,
      digest: large.digest,
      length: 70_000,
      part: range
    }
  ]
}

/** Sends a request of a pull, and says what of the answer is not as it is to be; an empty list if all of it is. */
export async function faultsOf(address: string, wanted: PullRequest, bytesOf: (digest: string) => Buffer): Promise<string[]> {
  const answer = await ask(address, wanted.method, wanted.path, { headers: wanted.headers ?? {} }).catch((error: Error) => error)
  if (answer instanceof Error) return [`${wanted.title}: ${answer.message}`]
  return differences(answer, wanted, bytesOf).map(each => `${wanted.title}: ${each}`)
}

function differences({ status, headers, body }: Answer, wanted: PullRequest, bytesOf: (digest: string) => Buffer): string[] {
  if (status !== wanted.status) return [`status ${status}: ${body.subarray(0, 300)}`]
  const found: string[] = []
  const declared = headers['docker-content-digest']
  if (declared !== wanted.digest) found.push(`Docker-Content-Digest ${declared}`)
  if (headers['content-length'] !== `${wanted.length}`) found.push(`Content-Length ${headers['content-length']}`)
  if (wanted.method === 'HEAD') return found
  const right = bytesOf(wanted.digest).subarray(...(wanted.part ?? []))
  if (digestOf(body) !== digestOf(right)) found.push(`${body.length} bytes that are not those asked for`)
  return found
}
