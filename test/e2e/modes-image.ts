import { randomFillSync } from 'node:crypto'
import { mediaTypes, type SampleImage } from './image.ts'
import { type Descriptor, Layout } from './layout.ts'

const block = 512

/** An image whose second layer is that large. */
export interface LargeImage extends SampleImage {
  large: Descriptor
}

/** Makes a layout with `image`: a small layer, and one of so many random bytes, neither compressed. */
export async function makeLarge(folder: string, size: number): Promise<LargeImage> {
  const layout = await Layout.create(folder)
  const layers: Descriptor[] = []
  for (const each of [4096, size]) {
    layers.push(await layout.add('application/vnd.oci.image.layer.v1.tar', tarOf(`content-${each}`, each)))
  }
  const [, large] = layers
  if (large === undefined) throw new Error('an image of two layers has a second')
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) }
  const config = await layout.add(mediaTypes.config, json({ os: 'linux', architecture: 'amd64', config: {}, rootfs }))
  const image = await layout.add(mediaTypes.manifest, json({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers }))
  await layout.name({ image })
  return { layout, image, large }
}

/** A tar archive of one file with random content, made in place: `size` may be a GiB. */
function tarOf(name: string, size: number): Buffer {
  const tar = Buffer.alloc(block + Math.ceil(size / block) * block + 2 * block)
  randomFillSync(tar, block, size)
  header(name, size).copy(tar)
  return tar
}

// POSIX ustar: name, mode, uid, gid, size, mtime in octal, the checksum over the header with spaces in its own place.
function header(name: string, size: number): Buffer {
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  const bytes = Buffer.alloc(block)
  bytes.write(name, 0)
  bytes.write(octal(0o644, 8) + octal(0, 8) + octal(0, 8) + octal(size, 12) + octal(0, 12), 100)
  bytes.write(`${' '.repeat(8)}0`, 148)
  bytes.write('ustar\x0000', 257)
  const sum = bytes.reduce((total, byte) => total + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return bytes
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value))
}
