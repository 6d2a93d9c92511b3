import { createHash, randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'

/** What BuildKit's exporter of type `registry` pushes with `image-manifest=false`, by `oci-mediatypes`. */
export const buildCacheTypes = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar+gzip'
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip'
  }
} as const

/** A cache of layers: an index that lists its blobs in place of manifests. */
export interface BuildCache {
  index: string
  digest: string
  mediaType: string
  /** Gzipped layers, then the config of the cache, as the index lists them. */
  blobs: Buffer[]
}

const configType = 'application/vnd.buildkit.cacheconfig.v0'

/** Makes a cache of three layers with random content; `change` may change the descriptors of the index. */
export function makeBuildCache(
  types: (typeof buildCacheTypes)['oci' | 'docker'] = buildCacheTypes.oci,
  change: (descriptor: Record<string, unknown>, at: number) => Record<string, unknown> = each => each
): BuildCache {
  const layers = [4000, 300, 70_000].map(size => randomBytes(size))
  const packed = layers.map(each => gzipSync(each))
  const chain = packed.map((each, at) => ({ blob: digestOf(each), parent: at - 1 }))
  const config = Buffer.from(
    JSON.stringify({ layers: chain, records: [{ digest: digestOf(layers[0] as Buffer), layers: [{ layer: 0 }] }] })
  )
  const described = packed.map((each, at) => ({
    ...describe(types.layer, each),
    annotations: { 'buildkit/createdat': '2026-11-30T06:00:00Z', 'containerd.io/uncompressed': digestOf(layers[at] as Buffer) }
  }))
  const manifests = [...described, describe(configType, config)].map(change)
  const index = JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests })
  return { index, digest: digestOf(index), mediaType: types.index, blobs: [...packed, config] }
}

function describe(mediaType: string, bytes: Buffer): Record<string, unknown> {
  return { mediaType, digest: digestOf(bytes), size: bytes.length }
}

function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
