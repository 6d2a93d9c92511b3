import type { Content } from '../content/content.ts'
import { blob as blobKey } from '../content/keys.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { algorithmOf, createDigester, type Digest, digestOf } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import type { Body, Manifest } from '../oci/source.ts'
import type { WhyContext } from './resolve.ts'

/**
 * How a stored object does. `noticed` damage is what the registry sees by itself and does not serve; `unnoticed` has the right size and the wrong bytes, and only
 * their digest shows it: clients get them, and refuse them.
 */
export type Inspection =
  | { state: 'here'; checked: 'digest' | 'size' }
  | { state: 'missing' }
  | { state: 'damaged'; damage: 'noticed' | 'unnoticed' }

/** How closely bytes are looked at; the signal ends the computing of digests, after which sizes have to do. */
export type InspectionDepth = 'size' | { until: AbortSignal }

/** Looks at a blob of a repository and changes nothing. */
export async function inspectBlob({ blobs }: Content, name: Name, { digest }: Descriptor, depth: InspectionDepth): Promise<Inspection> {
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

/** Looks at a manifest of a repository; with its bytes if they are sound. */
export async function inspectManifest(
  { content, storage }: Pick<WhyContext, 'content' | 'storage'>,
  name: Name,
  digest: Digest,
  depth: InspectionDepth
): Promise<{ look: Inspection; manifest?: Manifest }> {
  const target = await content.manifests.linked(name, digest)
  if (!target) return { look: { state: 'missing' } }
  const manifest = await content.manifests.get(name, digest)
  if (!manifest) return { look: { state: 'damaged', damage: 'noticed' } }
  if (depth === 'size') return { look: { state: 'here', checked: 'size' }, manifest }
  // What is served may come from memory; what a restart would find is on the disk.
  const bytes = await storage.get(blobKey(target))
  const sound = bytes !== undefined && digestOf(bytes, algorithmOf(digest)) === digest
  return { look: sound ? { state: 'here', checked: 'digest' } : { state: 'damaged', damage: 'noticed' }, manifest }
}

const piece = 256 * 1024

async function computeDigest(body: Body, digest: Digest, until: AbortSignal): Promise<Digest | undefined> {
  const digester = createDigester(algorithmOf(digest))
  const buffer = Buffer.allocUnsafe(piece)
  for (let position = 0; ; ) {
    if (until.aborted) return undefined
    const read = await body.readInto(buffer, position)
    if (read === 0) return digester.digest()
    digester.update(buffer.subarray(0, read))
    position += read
  }
}
