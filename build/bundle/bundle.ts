import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import pkg from '../../package.json' with { type: 'json' }
import { writeExecutable } from '../executable/executable.ts'
import { type ImageOptions, writeImage } from '../image/image.ts'
import { originFiles, project } from '../write.ts'
import { writeChart } from './chart.ts'

/** The name of the folder in the archive, and the files in it besides the checksums. */
interface Part {
  name: string
  file: string
  mode: number
}

/**
 * Writes an archive with all that a machine without a network needs: the executable, the image for `ctr images import`
 * or `docker load`, the chart, the licences, the SBOM, and the checksums of these. Its parts are left in `folder`.
 */
export async function writeBundle(archive: string, folder: string, options: ImageOptions): Promise<void> {
  await writeImage(join(folder, 'image'), options)
  await writeExecutable(join(folder, 'registry'), join(folder, 'scratch'))
  const chart = `registry-${pkg.version}.tgz`
  await writeChart(join(folder, chart), options.modified)
  const origins = Object.values(originFiles).map(name => ({ name, file: join(folder, 'scratch/dist', name), mode: 0o644 }))
  const parts: Part[] = [
    { name: 'LICENSE', file: join(project, 'LICENSE'), mode: 0o644 },
    ...origins,
    { name: 'image.tar', file: join(folder, 'image/image.tar'), mode: 0o644 },
    { name: 'registry', file: join(folder, 'registry'), mode: 0o755 },
    { name: chart, file: join(folder, chart), mode: 0o644 }
  ]
  await mkdir(dirname(archive), { recursive: true })
  await writeParts(archive, parts, options.modified)
}

async function writeParts(archive: string, parts: readonly Part[], mtime: Date): Promise<void> {
  const tar = pack()
  const written = pipeline(tar, createGzip({ level: 9 }), createWriteStream(archive))
  const sums: string[] = []
  for (const { name, file, mode } of parts) {
    const hash = createHash('sha256')
    const entry = tar.entry({ name: `registry/${name}`, size: (await stat(file)).size, mode, mtime })
    const read = createReadStream(file)
    read.on('data', bytes => hash.update(bytes))
    await pipeline(read, entry)
    sums.push(`${hash.digest('hex')}  ${name}\n`)
  }
  tar.entry({ name: 'registry/SHA256SUMS', mode: 0o644, mtime }, sums.join(''))
  tar.finalize()
  await written
}
