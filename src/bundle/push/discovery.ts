import { mediaTypes } from '../../oci/descriptor.ts'
import { type Digest, digestOf } from '../../oci/digest.ts'
import { isTag, type Tag } from '../../oci/name.ts'
import { blockBytes, writeHeader } from '../tar/header.ts'

/** A tag that makes a module, a package or a plugin known: the tags of `path` are the list of them. */
export interface DiscoveryTag {
  path: string
  tag: Tag
}

const lists = ['modules', 'packages', 'deckhouse-cli/plugins']

/** The discovery tags for repositories: one for each directory directly below a list, as d8 makes them. */
export function discoveryTags(paths: Iterable<string>): DiscoveryTag[] {
  const found = new Map<string, DiscoveryTag>()
  for (const path of paths) {
    for (const list of lists) {
      const [tag] = path.startsWith(`${list}/`) ? path.slice(list.length + 1).split('/') : []
      if (tag !== undefined && isTag(tag)) found.set(`${list}:${tag}`, { path: list, tag })
    }
  }
  return [...found.values()]
}

/** An image whose content does not matter, only its tag. */
export interface PlaceholderImage {
  manifest: Buffer
  digest: Digest
  blobs: { digest: Digest; bytes: Buffer }[]
}

/**
 * The placeholder of a discovery tag: a layer of one small file. It is the same each time, so that a second push adds
 * nothing.
 */
export function placeholderImage({ path, tag }: DiscoveryTag): PlaceholderImage {
  const text = Buffer.from(`${path}:${tag}\n`)
  const layer = Buffer.concat([
    writeHeader('discovery', text.length),
    Buffer.concat([text, Buffer.alloc(blockBytes)], blockBytes),
    Buffer.alloc(2 * blockBytes)
  ])
  const diffId = digestOf(layer)
  const config = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [diffId] } })
  )
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length })
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: describe('application/vnd.oci.image.config.v1+json', config),
    layers: [describe('application/vnd.oci.image.layer.v1.tar', layer)]
  }
  const bytes = Buffer.from(JSON.stringify(manifest))
  return {
    manifest: bytes,
    digest: digestOf(bytes),
    blobs: [config, layer].map(bytes => ({ digest: digestOf(bytes), bytes }))
  }
}
