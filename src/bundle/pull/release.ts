import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, isDigest } from '../../oci/digest.ts'
import { found } from '../../oci/found.ts'
import { isJsonObject, parseJson } from '../../oci/json.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name, Reference, Tag } from '../../oci/name.ts'
import { matchesPlatform } from '../../oci/platform.ts'
import type { Body, Manifest, Source } from '../../oci/source.ts'
import { nameBelow } from '../source.ts'
import { tarEntries } from '../tar/entries.ts'
import { ForwardBytes } from '../tar/forward-bytes.ts'
import { TarFault } from '../tar/header.ts'
import type { WantedImage } from './resolve.ts'

/** Where d8 looks for the digests of a release's images, in its image `install`. */
const digestsFile = 'deckhouse/candi/images_digests.json'
const maxDigestsBytes = 4 * 1024 * 1024
const maxEntries = 1_000_000
/** Repositories that have a tag for each release. Those besides the first two are absent in some editions. */
export const releaseRepositories = [
  { path: '', need: 'required' },
  { path: 'install', need: 'required' },
  { path: 'install-standalone', need: 'optional' },
  { path: 'release-channel', need: 'optional' }
] as const

/**
 * The images of a release of Deckhouse: those that are tagged with its version, and those of the list that its
 * installer has. Throws an Error if there is no such release or no such list.
 */
export async function imagesOfRelease(
  source: Source,
  root: Name,
  { tag, signal }: { tag: Tag; signal: AbortSignal }
): Promise<WantedImage[]> {
  const images: WantedImage[] = []
  for (const { path, need } of releaseRepositories) {
    const name = nameBelow(root, path)
    if (need === 'required' || (await found(source.statManifest(name, { tag }, signal)))) images.push({ path, name, reference: { tag } })
  }
  const installer = nameBelow(root, 'install')
  const text = await fileOfImage(source, installer, { reference: { tag }, file: digestsFile, signal })
  if (!text) throw new Error(`${installer}:${tag} has no ${digestsFile}, so that the images of the release are not known`)
  return [...images, ...digestsIn(text).map(digest => ({ path: '', name: root, reference: { digest } }))]
}

/** The digests in a list of modules, each with a list of images. */
function digestsIn(text: Uint8Array): Digest[] {
  const modules = parseJson(text)
  const lists = isJsonObject(modules) ? Object.values(modules) : []
  const digests = lists.flatMap(each => (isJsonObject(each) ? Object.values(each) : [each]))
  return [...new Set(digests.filter(each => typeof each === 'string').filter(isDigest))].sort()
}

async function fileOfImage(
  source: Source,
  name: Name,
  { reference, file, signal }: { reference: Reference; file: string; signal: AbortSignal }
): Promise<Buffer | undefined> {
  const manifest = await imageManifest(source, name, (await source.getManifest(name, reference, { signal })).value, signal)
  const [, ...layers] = readManifest(manifest.bytes)?.blobs ?? []
  // A later layer replaces what an earlier one has.
  for (const layer of layers.reverse()) {
    const content = await fileOfLayer(source, name, { layer, file, signal })
    if (content) return content
  }
  return undefined
}

/** The image itself, or that of an index for any Linux: the list is the same in all. */
async function imageManifest(source: Source, name: Name, manifest: Manifest, signal: AbortSignal): Promise<Manifest> {
  const { manifests = [] } = readManifest(manifest.bytes) ?? {}
  const child = manifests.find(each => matchesPlatform(each.platform, ['linux/amd64'])) ?? manifests[0]
  return child ? (await source.getManifest(name, { digest: child.digest }, { signal })).value : manifest
}

async function fileOfLayer(
  source: Source,
  name: Name,
  { layer, file, signal }: { layer: Descriptor; file: string; signal: AbortSignal }
): Promise<Buffer | undefined> {
  const { value } = await source.openBlob(name, layer.digest, { signal })
  const packed = Readable.from(chunksOf(value.body))
  const tar = layer.mediaType.endsWith('gzip') ? packed.compose(createGunzip()) : packed
  const bytes = new ForwardBytes(tar)
  try {
    for await (const { name: entry, offset, size } of tarEntries(bytes, { maxEntries, allowed: 'anything', signal })) {
      if (entry !== file || size > maxDigestsBytes) continue
      const content = Buffer.alloc(size)
      return content.subarray(0, await bytes.read(content, offset))
    }
    return undefined
  } catch (error) {
    // The end of a stream is none of an archive whose size is known.
    if (error instanceof TarFault) return undefined
    throw error
  } finally {
    tar.destroy()
    packed.destroy()
    await value.body.close()
  }
}

async function* chunksOf(body: Body): AsyncGenerator<Buffer, void> {
  for (let position = 0; ; ) {
    const buffer = Buffer.allocUnsafe(64 * 1024)
    const read = await body.readInto(buffer, position)
    if (read === 0) return
    position += read
    yield buffer.subarray(0, read)
  }
}
