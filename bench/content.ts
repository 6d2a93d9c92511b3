import { createHash } from 'node:crypto'
import { link, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Blob } from './blob.ts'

/** A manifest with the tag that names it. */
export interface Manifest {
  readonly bytes: Buffer
  readonly digest: string
  readonly tag: string
}

/** What a repository holds. */
export interface Content {
  readonly name: string
  readonly blobs: readonly Blob[]
  readonly manifests: readonly Manifest[]
}

/** The media type of the manifests here. */
export const manifestType = 'application/vnd.oci.image.manifest.v1+json'

/** An image manifest; the first blob is its config. */
export function makeManifest([config, ...layers]: readonly Blob[], tag: string): Manifest {
  const describe = (mediaType: string, blob: Blob | undefined) => ({ mediaType, digest: blob?.digest, size: blob?.size })
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: describe('application/vnd.oci.image.config.v1+json', config),
      layers: layers.map(each => describe('application/vnd.oci.image.layer.v1.tar', each))
    })
  )
  return { bytes, digest: digestOf(bytes), tag }
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Lays content down as CNCF Distribution does, which is what this registry reads as well. */
export async function plantRegistry(root: string, { name, blobs, manifests }: Content): Promise<void> {
  const top = join(root, 'docker/registry/v2')
  const repository = join(top, 'repositories', name)
  for (const { digest, file } of blobs) {
    await linkAt(blobPath(root, digest), file)
    await writeAt(join(repository, '_layers', digest.replace(':', '/'), 'link'), digest)
  }
  for (const { digest, bytes, tag } of manifests) {
    await writeAt(blobPath(root, digest), bytes)
    await writeAt(join(repository, '_manifests/revisions', digest.replace(':', '/'), 'link'), digest)
    await writeAt(join(repository, '_manifests/tags', tag, 'current/link'), digest)
    await writeAt(join(repository, '_manifests/tags', tag, 'index', digest.replace(':', '/'), 'link'), digest)
  }
}

/** The file of a blob in that layout. */
export function blobPath(root: string, digest: string): string {
  const [algorithm = '', encoded = ''] = digest.split(':')
  return join(root, 'docker/registry/v2/blobs', algorithm, encoded.slice(0, 2), encoded, 'data')
}

/** Lays content down as files whose paths are those of the requests. */
export async function plantFiles(root: string, { name, blobs, manifests }: Content): Promise<void> {
  for (const { digest, file } of blobs) await linkAt(join(root, 'v2', name, 'blobs', digest), file)
  for (const { digest, bytes, tag } of manifests) {
    await writeAt(join(root, 'v2', name, 'manifests', digest), bytes)
    await writeAt(join(root, 'v2', name, 'manifests', tag), bytes)
  }
}

async function linkAt(path: string, file: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await link(file, path)
}

async function writeAt(path: string, bytes: string | Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, bytes)
}
