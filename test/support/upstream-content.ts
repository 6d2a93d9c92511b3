import { createHash, randomBytes } from 'node:crypto'

export const manifestType = 'application/vnd.oci.image.manifest.v1+json'
export const indexType = 'application/vnd.oci.image.index.v1+json'

/** A manifest with the type that it was added under. */
export interface Held {
  bytes: Buffer
  mediaType: string
}

/** What a registry of the tests holds, per repository; several servers can share one. */
export class UpstreamContent {
  readonly blobs = new Map<string, Map<string, Buffer>>()
  readonly manifests = new Map<string, Map<string, Held>>()
  readonly tags = new Map<string, Map<string, string>>()

  /** Adds a blob and gives its digest. */
  addBlob(name: string, bytes: Buffer): string {
    const digest = digestOf(bytes)
    within(this.blobs, name).set(digest, bytes)
    return digest
  }

  /** Adds a manifest, under a tag if one is given, and gives its digest. */
  addManifest(
    name: string,
    manifest: string | Buffer,
    { tag, mediaType = manifestType }: { tag?: string; mediaType?: string } = {}
  ): string {
    const bytes = Buffer.from(manifest)
    const digest = digestOf(bytes)
    within(this.manifests, name).set(digest, { bytes, mediaType })
    if (tag !== undefined) within(this.tags, name).set(tag, digest)
    return digest
  }

  /** Adds an image of one layer under a tag. */
  addImage(
    name: string,
    tag: string,
    { layer = randomBytes(256), ...more }: { layer?: Buffer } & Record<string, unknown> = {}
  ): { digest: string; config: string; layer: string; manifest: string; size: number } {
    const configBytes = randomBytes(64)
    const config = this.addBlob(name, configBytes)
    const layerDigest = this.addBlob(name, layer)
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, size: configBytes.length },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: layerDigest, size: layer.length }],
      ...more
    })
    const digest = this.addManifest(name, manifest, { tag })
    return { digest, config, layer: layerDigest, manifest, size: Buffer.byteLength(manifest) }
  }

  /** The manifest that a tag or a digest names. */
  findManifest(name: string, reference: string): (Held & { digest: string }) | undefined {
    const digest = reference.includes(':') ? reference : this.tags.get(name)?.get(reference)
    const held = digest === undefined ? undefined : this.manifests.get(name)?.get(digest)
    return digest === undefined || held === undefined ? undefined : { ...held, digest }
  }

  /** All names that hold anything. */
  names(): string[] {
    return [...new Set([...this.blobs.keys(), ...this.manifests.keys()])].sort()
  }
}

/** The sha256 digest of bytes. */
export function digestOf(bytes: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function within<T>(all: Map<string, Map<string, T>>, name: string): Map<string, T> {
  const known = all.get(name)
  if (known) return known
  const made = new Map<string, T>()
  all.set(name, made)
  return made
}
