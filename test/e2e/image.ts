import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { must } from './command.ts'
import type { Descriptor } from './layout.ts'
import { Layout, sha256 } from './layout.ts'

const compress = promisify(gzip)

/** The media types that the images are made of. */
export const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip'
} as const

/** Random bytes per layer; of several MiB, so that a blob does not fit one buffer of anybody on the way. */
const layerSizes = [5 << 20, 2 << 20, 4096]

/** A layout with `image`, for linux/amd64. */
export interface SampleImage {
  layout: Layout
  image: Descriptor
}

/** A layout with `image` and `index` (that image and one for linux/arm64). */
export interface SampleLayout extends SampleImage {
  index: Descriptor
}

/** Makes a layout of real images with random content, so that no two are alike. */
export async function makeSample(folder: string): Promise<SampleLayout> {
  const layout = await Layout.create(folder)
  const image = await addImage(layout, 'amd64')
  const index = await addIndex(layout, [image, await addImage(layout, 'arm64')])
  await layout.name({ image: withoutPlatform(image), index })
  return { layout, image, index }
}

/** Makes a layout that holds one image and nothing else, for the tools that push a whole layout. */
export async function makeSingle(folder: string): Promise<SampleImage> {
  const layout = await Layout.create(folder)
  const image = withoutPlatform(await addImage(layout, 'amd64'))
  await layout.name({ image })
  return { layout, image }
}

/** Adds an image of several tar+gzip layers and answers the descriptor of its manifest. */
export async function addImage(layout: Layout, architecture: string): Promise<Descriptor> {
  const layers: Descriptor[] = []
  const diffs: string[] = []
  for (const [position, size] of layerSizes.entries()) {
    const tar = await makeTar(`layer-${position}`, randomBytes(size))
    diffs.push(sha256(tar))
    layers.push(await layout.add(mediaTypes.layer, await compress(tar, { level: 1 })))
  }
  const platform = { os: 'linux', architecture }
  const config = await addJson(layout, mediaTypes.config, { ...platform, config: {}, rootfs: { type: 'layers', diff_ids: diffs } })
  const manifest = await addJson(layout, mediaTypes.manifest, { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers })
  return { ...manifest, platform }
}

/** Adds an image index of the manifests. */
export async function addIndex(layout: Layout, manifests: readonly Descriptor[]): Promise<Descriptor> {
  return await addJson(layout, mediaTypes.index, { schemaVersion: 2, mediaType: mediaTypes.index, manifests })
}

/** Digests of the layers of an image. */
export async function layersOf(layout: Layout, image: Descriptor): Promise<string[]> {
  const manifest: { layers: Descriptor[] } = JSON.parse((await layout.read(image.digest)).toString())
  return manifest.layers.map(({ digest }) => digest)
}

/** Unpacks the files of an image into a new folder. */
export async function unpackImage(layout: Layout, digest: string, folder: string): Promise<void> {
  await mkdir(folder)
  const { layers }: { layers: Descriptor[] } = JSON.parse(String(await layout.read(digest)))
  for (const layer of layers) await must('tar', ['-xzf', layout.pathOf(layer.digest), '-C', folder])
}

async function addJson(layout: Layout, mediaType: string, value: object): Promise<Descriptor> {
  // Indented on purpose: a registry that writes the JSON anew would change the digest.
  return await layout.add(mediaType, Buffer.from(JSON.stringify(value, undefined, 3)))
}

async function makeTar(name: string, content: Buffer): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'registry-layer-'))
  try {
    await mkdir(join(folder, 'root/opt', name), { recursive: true })
    await writeFile(join(folder, 'root/opt', name, 'content'), content)
    await must('tar', ['--owner=0', '--group=0', '--sort=name', '-C', join(folder, 'root'), '-cf', join(folder, 'layer.tar'), '.'])
    return await readFile(join(folder, 'layer.tar'))
  } finally {
    await rm(folder, { recursive: true })
  }
}

function withoutPlatform({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size }
}
