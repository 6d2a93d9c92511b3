import { join } from 'node:path'
import { type Content, plantRegistry } from '../../bench/content.ts'
import type { SampleImage } from '../e2e/image.ts'
import { makeLarge } from '../e2e/modes-image.ts'

/** The repository of the image, and how a node names the registry. */
export const repository = 'system/deckhouse'
/** The registry as the nodes name it, in references and as `ns=`. */
export const namespace = 'registry.d8-system.svc:5001'

/** An image as replicas have it and a node pulls it. */
export interface Image {
  readonly content: Content
  readonly manifest: { digest: string; size: number }
  /** Its large layer. */
  readonly large: { digest: string; size: number }
  /** Digests of its config and layers. */
  readonly blobs: readonly string[]
  /** The same as an image layout. */
  readonly sample: SampleImage
}

/** Makes an image with a layer of so many bytes, below a new folder on the filesystem of the replicas. */
export async function makeImage(folder: string, size: number): Promise<Image> {
  const { layout, image, large } = await makeLarge(folder, size)
  const bytes = await layout.read(image.digest)
  const { config, layers }: { config: Part; layers: Part[] } = JSON.parse(bytes.toString())
  const blobs = [config, ...layers].map(each => ({ ...each, file: join(folder, 'blobs', each.digest.replace(':', '/')) }))
  const content = { name: repository, blobs, manifests: [{ bytes, digest: image.digest, tag: 'v1' }] }
  return { content, manifest: image, large, blobs: blobs.map(({ digest }) => digest), sample: { layout, image } }
}

interface Part {
  digest: string
  size: number
}

/** Puts the image into the store of a replica, without a copy of its bytes. */
export async function plant(root: string, { content }: Image): Promise<void> {
  await plantRegistry(root, content)
}

/** The path of a request as containerd sends it to a mirror. */
export function pathOf(kind: 'blobs' | 'manifests', reference: string): string {
  return `/v2/${repository}/${kind}/${reference}?ns=${encodeURIComponent(namespace)}`
}
