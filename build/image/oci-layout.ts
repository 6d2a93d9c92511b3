import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { digestOf } from './layer.ts'

/** A descriptor (image-spec, descriptor.md). */
export interface Descriptor {
  mediaType: string
  digest: string
  size: number
  annotations?: Record<string, string>
  platform?: { os: string; architecture: string }
  artifactType?: string
}

/** Writes an OCI image layout (image-spec, image-layout.md). */
export class OciLayout {
  readonly #folder: string
  readonly #manifests: Descriptor[] = []

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Creates the layout in place of what was in the folder. */
  static async create(folder: string): Promise<OciLayout> {
    await rm(folder, { recursive: true, force: true })
    await mkdir(join(folder, 'blobs/sha256'), { recursive: true })
    await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
    return new OciLayout(folder)
  }

  /** Writes a blob; resolves to its descriptor. */
  async blob(mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
    const digest = digestOf(bytes)
    await writeFile(this.pathOf(digest), bytes)
    return { mediaType, digest, size: bytes.length }
  }

  /** Writes a manifest and lists it in the index, with `listed` added to its descriptor. */
  async manifest(content: { mediaType: string }, listed: Partial<Descriptor> = {}): Promise<Descriptor> {
    const descriptor = await this.blob(content.mediaType, Buffer.from(JSON.stringify(content)))
    this.#manifests.push({ ...descriptor, ...listed })
    return descriptor
  }

  /** Writes `index.json`, without which the folder is no layout. */
  async finish(): Promise<void> {
    const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: this.#manifests }
    await writeFile(join(this.#folder, 'index.json'), JSON.stringify(index))
  }

  /** The file of a blob. */
  pathOf(digest: string): string {
    return join(this.#folder, 'blobs', digest.replace(':', '/'))
  }
}
