import type { Digest } from './digest.ts'

/** Points at content (image-spec, "OCI Content Descriptors"): media type, digest, size in bytes. */
export interface Descriptor {
  mediaType: string
  digest: Digest
  size: number
  artifactType?: string
  annotations?: Readonly<Record<string, string>>
}

/** The media types that this registry knows by name. */
export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  blob: 'application/octet-stream'
} as const

const manifestTypes: readonly string[] = [
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  mediaTypes.dockerManifest,
  mediaTypes.dockerList,
  'application/vnd.docker.distribution.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v1+prettyjws'
]

/** Whether a media type is that of a manifest. What lies under the digest may be something else all the same. */
export function isManifestType(mediaType: string): boolean {
  return manifestTypes.includes(mediaType)
}

/**
 * Whether a registry need not hold a layer, since its descriptor has URLs (image-spec, "Non-Distributable Layers";
 * Docker's foreign layers).
 */
export function isNonDistributable(mediaType: string): boolean {
  return mediaType.startsWith('application/vnd.oci.image.layer.nondistributable.') || mediaType.includes('.image.rootfs.foreign.')
}
