import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Header, pack } from 'tar-stream'

/** What is said of an entry. */
export type EntryHeader = Partial<Header> & Pick<Header, 'name'>

/** An entry as it is packed: its header, and its bytes. */
export interface PackedEntry {
  header: EntryHeader
  bytes?: Buffer
}

/** An image that was added to a bundle. */
export interface MadeImage {
  path: string
  tag: string
  digest: string
  manifest: Buffer
  /** Config and layers. */
  blobs: Buffer[]
}

const imageType = 'application/vnd.oci.image.manifest.v1+json'
const epoch = new Date(0)

/** How an image is made: with these layers, or some random ones; with this subject; under these annotations. */
export interface ImageOptions {
  layers?: Buffer[]
  subject?: MadeImage
  annotations?: Record<string, string>
  mediaType?: string
}

/** Makes archives as d8 mirror does: image layouts whose paths are those of repositories, with its annotations. */
export class BundleMaker {
  readonly images: MadeImage[] = []
  /** By layout and file name. */
  readonly #layouts = new Map<string, { blobs: Map<string, Buffer>; manifests: object[] }>()

  /** Adds an image of random layers under a tag. */
  addImage(
    path: string,
    tag: string,
    { layers = [randomBytes(3000), randomBytes(70_000)], subject, annotations, mediaType }: ImageOptions = {}
  ): MadeImage {
    const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', made: randomBytes(8).toString('hex') }))
    const describe = (type: string, bytes: Buffer) => ({ mediaType: type, digest: digestOf(bytes), size: bytes.length })
    const about = subject ? { subject: describe(imageType, subject.manifest), artifactType: 'application/vnd.test.signature' } : {}
    const document = {
      schemaVersion: 2,
      mediaType: imageType,
      config: describe('application/vnd.oci.image.config.v1+json', config),
      layers: layers.map(each => describe('application/vnd.oci.image.layer.v1.tar+gzip', each)),
      ...about
    }
    const manifest = Buffer.from(JSON.stringify(document))
    this.addBlobs(path, [config, ...layers])
    this.addManifest(path, tag, manifest, { mediaType: mediaType ?? imageType, ...(annotations ? { annotations } : {}) })
    const image = { path, tag, digest: digestOf(manifest), manifest, blobs: [config, ...layers] }
    this.images.push(image)
    return image
  }

  /** Adds a manifest of any kind, and lists it. */
  addManifest(
    path: string,
    tag: string,
    bytes: Buffer,
    { mediaType = imageType, annotations }: { mediaType?: string; annotations?: Record<string, string> } = {}
  ): void {
    this.addBlobs(path, [bytes])
    const names = { 'org.opencontainers.image.ref.name': `registry.test/deckhouse/${path}:${tag}`, 'io.deckhouse.image.short_tag': tag }
    this.layout(path).manifests.push({ mediaType, digest: digestOf(bytes), size: bytes.length, annotations: annotations ?? names })
  }

  /** Adds blobs that no manifest of `addImage` needs. */
  addBlobs(path: string, blobs: readonly Buffer[]): void {
    for (const each of blobs) this.layout(path).blobs.set(digestOf(each).replace(':', '/'), each)
  }

  /** A layout, made when it is asked for first. */
  layout(path: string): { blobs: Map<string, Buffer>; manifests: object[] } {
    const known = this.#layouts.get(path) ?? { blobs: new Map(), manifests: [] }
    this.#layouts.set(path, known)
    return known
  }

  /** The entries of layouts; all of them, or those whose paths are given. */
  entries(
    paths: readonly string[] = [...this.#layouts.keys()],
    { prefix = (path: string) => path }: { prefix?: (path: string) => string } = {}
  ): PackedEntry[] {
    return paths.flatMap(path => {
      const { blobs, manifests } = this.layout(path)
      const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.layout.v1+json', manifests }
      const at = (file: string) => fileEntry(join(prefix(path), file))
      return [
        ...[...blobs].map(([file, bytes]) => ({ ...at(`blobs/${file}`), bytes })),
        { ...at('index.json'), bytes: Buffer.from(JSON.stringify(index)) },
        { ...at('oci-layout'), bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') }
      ]
    })
  }
}

/** The header of a file, as d8 writes it. */
export function fileEntry(name: string): { header: EntryHeader } {
  return { header: { name, mode: 0o777, mtime: epoch, type: 'file' } }
}

/** Writes an archive. */
export async function writeArchive(file: string, entries: readonly PackedEntry[]): Promise<void> {
  const tar = pack()
  const written = pipeline(tar, createWriteStream(file))
  for (const { header, bytes } of entries) {
    await new Promise<void>(
      (resolve, reject) => void tar.entry(header, bytes ?? Buffer.alloc(0), error => (error ? reject(error) : resolve()))
    )
  }
  tar.finalize()
  await written
}

/** Splits an archive into chunks as d8 does, in its place; gives their paths. */
export async function splitArchive(file: string, chunkBytes: number): Promise<string[]> {
  const handle = await open(file)
  const { size } = await handle.stat()
  await handle.close()
  const chunks: string[] = []
  for (let begin = 0; begin < size; begin += chunkBytes) {
    const chunk = `${file}.${String(chunks.length).padStart(4, '0')}.chunk`
    await pipeline(createReadStream(file, { start: begin, end: Math.min(begin + chunkBytes, size) - 1 }), createWriteStream(chunk))
    chunks.push(chunk)
  }
  await rm(file)
  return chunks
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
