import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { pack } from 'tar-stream'
import { digestOf, type Layer } from './layer.ts'

/** Writes an image as `docker save` does, for `docker load`, `ctr images import` and `podman load`. */
export async function writeDockerArchive(
  file: string,
  { config, layers, reference, modified }: { config: Uint8Array; layers: readonly Layer[]; reference: string; modified: Date }
): Promise<void> {
  const archive = pack()
  const written = pipeline(archive, createWriteStream(file))
  const add = (name: string, bytes: Uint8Array) => archive.entry({ name, mode: 0o644, mtime: modified }, bytes)
  const configName = `${encoded(digestOf(config))}.json`
  const layerNames = layers.map(each => `${encoded(digestOf(each.bytes))}.tar.gz`)
  add('manifest.json', Buffer.from(JSON.stringify([{ Config: configName, RepoTags: [reference], Layers: layerNames }])))
  add(configName, config)
  layers.forEach((each, at) => {
    add(layerNames[at] ?? '', each.bytes)
  })
  archive.finalize()
  await written
}

const encoded = (digest: string): string => digest.slice(digest.indexOf(':') + 1)
