import type { Config } from '../../config/schema.ts'
import type { Content } from '../content/content.ts'
import { blob as blobKey } from '../content/keys.ts'
import { algorithmOf, createDigester, type Digest, digestOf } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import type { Body, Manifest } from '../oci/source.ts'
import type { DiskReport } from './report.ts'
import type { WhyContext } from './resolve.ts'

/**
 * The state of a stored object. `noticed` damage is known to the registry, which does not serve it; `unnoticed` damage
 * has the right size and the wrong bytes: it is served, and clients refuse it.
 */
export type Inspection =
  | { state: 'here'; checked: 'digest' | 'size' }
  | { state: 'missing' }
  | { state: 'damaged'; damage: 'noticed' | 'unnoticed' }

/** What is verified: the size, or the digest until the signal is aborted, and the size after it. */
export type InspectionDepth = 'size' | { until: AbortSignal }

/** Inspects a blob of a repository; changes nothing. */
export async function inspectBlob({ blobs }: Content, name: Name, digest: Digest, depth: InspectionDepth): Promise<Inspection> {
  if (!(await blobs.linked(name, digest))) return { state: 'missing' }
  const open = await blobs.open(name, digest)
  if (!open) return { state: 'damaged', damage: 'noticed' }
  try {
    const actual = depth === 'size' ? undefined : await computeDigest(open.body, digest, depth.until)
    if (actual === undefined) return { state: 'here', checked: 'size' }
    return actual === digest ? { state: 'here', checked: 'digest' } : { state: 'damaged', damage: 'unnoticed' }
  } finally {
    await open.body.close()
  }
}

/** Inspects a manifest of a repository; the manifest comes along if it can be served. */
export async function inspectManifest(
  { content, storage }: Pick<WhyContext, 'content' | 'storage'>,
  name: Name,
  digest: Digest,
  depth: InspectionDepth
): Promise<{ inspection: Inspection; manifest?: Manifest }> {
  const target = await content.manifests.linked(name, digest)
  if (!target) return { inspection: { state: 'missing' } }
  const manifest = await content.manifests.get(name, digest)
  if (!manifest) return { inspection: { state: 'damaged', damage: 'noticed' } }
  // A truncated blob of it is then noticed at once, and not only when all manifests of the repository have been read.
  content.sizes.learn(manifest.descriptor.digest, manifest.bytes)
  if (depth === 'size') return { inspection: { state: 'here', checked: 'size' }, manifest }
  // The manifest may come from memory; a restart would read the storage.
  const bytes = await storage.get(blobKey(target))
  const healthy = bytes !== undefined && digestOf(bytes, algorithmOf(digest)) === digest
  return { inspection: healthy ? { state: 'here', checked: 'digest' } : { state: 'damaged', damage: 'noticed' }, manifest }
}

/** Finds the free space of the storage, and whether it accepts bytes, which only writing and removing some can tell. */
export async function inspectDisk({ config, storage, writable }: Pick<WhyContext, 'config' | 'storage' | 'writable'>): Promise<DiskReport> {
  const root = storageLocation(config)
  const { free, total } = (await storage.usage().catch(() => undefined)) ?? {}
  const space = { ...(free === undefined ? {} : { free }), ...(total === undefined ? {} : { total }) }
  try {
    await writable()
    return { root, ...space, writable: 'yes' }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return { root, ...space, writable: code === 'ENOSPC' || code === 'EDQUOT' ? 'full' : 'no', told: message }
  }
}

/** Where the storage of a configuration is: a directory, or a bucket as the tools of AWS write it. */
export function storageLocation({ storage: { filesystem, s3 } }: Config): string {
  return s3 ? ['s3:/', s3.bucket, ...(s3.prefix === undefined ? [] : [s3.prefix])].join('/') : filesystem.root
}

const bufferBytes = 256 * 1024

async function computeDigest(body: Body, digest: Digest, until: AbortSignal): Promise<Digest | undefined> {
  const digester = createDigester(algorithmOf(digest))
  const buffer = Buffer.allocUnsafe(bufferBytes)
  for (let position = 0; ; ) {
    if (until.aborted) return undefined
    const length = await body.readInto(buffer, position)
    if (length === 0) return digester.digest()
    digester.update(buffer.subarray(0, length))
    position += length
  }
}
