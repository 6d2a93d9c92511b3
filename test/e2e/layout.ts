import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A descriptor of the image-spec. */
export interface Descriptor {
  mediaType: string
  digest: string
  size: number
  platform?: { os: string; architecture: string }
}

/** A folder in the form of the image-spec's "Image Layout". */
export class Layout {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** Makes an empty layout in a new folder. */
  static async create(folder: string): Promise<Layout> {
    await mkdir(join(folder, 'blobs/sha256'), { recursive: true })
    await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
    return new Layout(folder)
  }

  /** Opens a layout that some tool wrote. */
  static open(folder: string): Layout {
    return new Layout(folder)
  }

  /** Stores bytes and answers their descriptor. */
  async add(mediaType: string, bytes: Buffer): Promise<Descriptor> {
    const digest = sha256(bytes)
    await writeFile(this.pathOf(digest), bytes)
    return { mediaType, digest, size: bytes.length }
  }

  /** Names manifests: writes `index.json` anew. */
  async name(manifests: Readonly<Record<string, Descriptor>>): Promise<void> {
    const named = Object.entries(manifests).map(([tag, descriptor]) => ({
      ...descriptor,
      annotations: { 'org.opencontainers.image.ref.name': tag }
    }))
    await writeFile(join(this.folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: named }))
  }

  /** The bytes of a blob or a manifest. */
  async read(digest: string): Promise<Buffer> {
    return await readFile(this.pathOf(digest))
  }

  /** Every digest that is stored, in byte order. */
  async digests(): Promise<string[]> {
    return (await readdir(join(this.folder, 'blobs/sha256'))).sort().map(encoded => `sha256:${encoded}`)
  }

  /** Digests whose stored bytes are something else. */
  async damaged(): Promise<string[]> {
    const checked = await Promise.all((await this.digests()).map(async digest => ({ digest, found: sha256(await this.read(digest)) })))
    return checked.filter(({ digest, found }) => digest !== found).map(({ digest }) => digest)
  }

  /** The file of a blob or a manifest. */
  pathOf(digest: string): string {
    return join(this.folder, 'blobs', digest.replace(':', '/'))
  }
}

/** The digest of some bytes. */
export function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
