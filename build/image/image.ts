import { mkdir, readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import pkg from '../../package.json' with { type: 'json' }
import { cacheReproducibly } from '../reproducible.ts'
import { nativeModules, originFiles, project, writeProgram } from '../write.ts'
import { writeDockerArchive } from './docker-archive.ts'
import { readRunConfig } from './dockerfile.ts'
import { type Entry, makeLayer } from './layer.ts'
import { type Descriptor, OciLayout } from './oci-layout.ts'
import { runtimeEntries } from './runtime.ts'

/** What an image says of itself beyond its content. */
export interface ImageOptions {
  /** The time of everything in it. */
  modified: Date
  /** The commit that it was built from. */
  revision?: string | undefined
}

/** What was written. */
export interface Image {
  /** The digest of its manifest. */
  digest: string
  /** Bytes of all layers, compressed. */
  size: number
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }

/** The architecture of this machine, as the image-spec names it. */
export const architecture: string = architectures[process.arch] ?? process.arch

/** The name of the image in its archive, and so on the nodes that import it: that of the chart, which no other registry has. */
export const imageReference = `registry.d8-system.svc:5001/system/deckhouse/registry:${pkg.version}`

const programFolder = 'program/dist'
const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'
const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const empty = Buffer.from('{}')

/**
 * Writes the image of the program below `folder`: `layout`, an OCI image layout, and `image.tar`, the same for
 * `docker load`. It starts as the Dockerfile's last stage does, and holds this Node, the libraries that it loads and the
 * program. The same sources on the same machine give the same digest.
 */
export async function writeImage(folder: string, { modified, revision }: ImageOptions): Promise<Image> {
  await mkdir(folder, { recursive: true })
  const run = readRunConfig(await readFile(join(project, 'Dockerfile'), 'utf8'))
  const modules = await moduleEntries(run.WorkingDir)
  const natives = modules.filter(({ path }) => path.endsWith('.node')).map(({ source }) => source)
  const layers = [
    await makeLayer(await runtimeEntries(natives, Number(run.User.split(':')[0])), modified),
    await makeLayer([...(await programEntries(folder, run.WorkingDir)), ...modules], modified)
  ]
  const annotations = {
    'org.opencontainers.image.title': 'registry',
    'org.opencontainers.image.description': pkg.description,
    'org.opencontainers.image.version': pkg.version,
    'org.opencontainers.image.licenses': pkg.license,
    'org.opencontainers.image.created': modified.toISOString(),
    ...(revision ? { 'org.opencontainers.image.revision': revision } : {})
  }
  const platform = { os: 'linux', architecture }
  const config = Buffer.from(
    JSON.stringify({
      created: modified.toISOString(),
      ...platform,
      // containerd keeps an image that has this label from the kubelet's collection of images.
      config: { ...run, Labels: { ...annotations, 'io.cri-containerd.pinned': 'pinned' } },
      rootfs: { type: 'layers', diff_ids: layers.map(each => each.diffId) },
      history: layers.map(() => ({ created: modified.toISOString(), created_by: 'npm run image' }))
    })
  )
  const layout = await OciLayout.create(join(folder, 'layout'))
  const descriptors = await Promise.all(layers.map(each => layout.blob(layerType, each.bytes)))
  const manifest = await layout.manifest(
    {
      schemaVersion: 2,
      mediaType: manifestType,
      config: await layout.blob('application/vnd.oci.image.config.v1+json', config),
      layers: descriptors,
      annotations
    } as { mediaType: string },
    { platform, annotations: { 'org.opencontainers.image.ref.name': pkg.version } }
  )
  await attachSbom(layout, manifest, await readFile(join(folder, programFolder, originFiles.sbom)))
  await layout.finish()
  await writeDockerArchive(join(folder, 'image.tar'), { config, layers, reference: imageReference, modified })
  return { digest: manifest.digest, size: descriptors.reduce((sum, each) => sum + each.size, 0) }
}

const sbomType = 'application/vnd.cyclonedx+json'

/** Attaches the SBOM as a referrer (image-spec, manifest.md, "Guidelines for Artifact Usage"). */
async function attachSbom(layout: OciLayout, subject: Descriptor, sbom: Uint8Array): Promise<void> {
  const artifact = {
    schemaVersion: 2,
    mediaType: manifestType,
    artifactType: sbomType,
    config: await layout.blob('application/vnd.oci.empty.v1+json', empty),
    layers: [await layout.blob(sbomType, sbom)],
    subject
  }
  await layout.manifest(artifact, { artifactType: sbomType })
}

async function programEntries(folder: string, workingDirectory: string): Promise<Entry[]> {
  const dist = join(folder, programFolder)
  await writeProgram(dist, cacheReproducibly)
  const files = await filesBelow(dist)
  const program = files.map(async file => ({
    path: join(workingDirectory, 'dist', file),
    content: await readFile(join(dist, file)),
    mode: file.endsWith('main.js') ? 0o755 : 0o644
  }))
  return Promise.all([
    ...program,
    { path: join(workingDirectory, 'package.json'), content: await readFile(join(project, 'package.json')) },
    { path: join(workingDirectory, 'LICENSE'), content: await readFile(join(project, 'LICENSE')) }
  ])
}

/** The native modules with the packages of this platform that they load. */
async function moduleEntries(workingDirectory: string): Promise<(Entry & { source: string })[]> {
  const packages = (await Promise.all(nativeModules.map(withPlatformPackages))).flat()
  const entries = packages.map(async ({ name, folder }) =>
    (await filesBelow(folder)).map(async file => {
      const source = join(folder, file)
      return { path: join(workingDirectory, 'node_modules', name, file), content: await readFile(source), source }
    })
  )
  return Promise.all((await Promise.all(entries)).flat())
}

async function withPlatformPackages(name: string): Promise<{ name: string; folder: string }[]> {
  const require = createRequire(join(project, 'package.json'))
  const own = dirname(require.resolve(`${name}/package.json`))
  const { optionalDependencies = {} } = JSON.parse(await readFile(join(own, 'package.json'), 'utf8'))
  const installed = Object.keys(optionalDependencies).flatMap(each => {
    try {
      return [{ name: each, folder: dirname(createRequire(join(own, 'package.json')).resolve(`${each}/package.json`)) }]
    } catch {
      return []
    }
  })
  if (installed.length === 0) throw new Error(`${name} has no package for ${process.platform}-${process.arch}: run npm ci`)
  return [{ name, folder: own }, ...installed]
}

async function filesBelow(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true })
  return found
    .filter(each => each.isFile())
    .map(each => join(each.parentPath, each.name).slice(folder.length + 1))
    .sort()
}
