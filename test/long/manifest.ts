/** What a descriptor is made of. */
export interface Part {
  digest: string
  size: number
}

const image = 'application/vnd.oci.image.manifest.v1+json'

/** The media type of the manifests here. */
export const manifestType = { 'content-type': image }

/** An image manifest over a config and layers that are stored already. */
export function makeManifest(config: Part, layers: readonly Part[], more: { subject?: Part; note?: string } = {}): Buffer {
  const { subject, note } = more
  const manifest = {
    schemaVersion: 2,
    mediaType: image,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: layers.map(each => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...each })),
    ...(subject ? { subject: { mediaType: image, ...subject } } : {}),
    ...(note === undefined ? {} : { annotations: { note } })
  }
  return Buffer.from(JSON.stringify(manifest))
}
