import { createWriteStream } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { chartFolder } from '../chart/values-schema.ts'

/** Packs the chart as `helm package` does, and reproducibly: the same files give the same bytes. */
export async function writeChart(file: string, mtime: Date): Promise<void> {
  const tar = pack()
  const written = pipeline(tar, createGzip({ level: 9 }), createWriteStream(file))
  const entries = await readdir(chartFolder, { recursive: true, withFileTypes: true })
  // helm leaves out what .helmignore names, which is what begins with a dot.
  const files = entries.filter(entry => entry.isFile() && !entry.name.startsWith('.')).map(entry => join(entry.parentPath, entry.name))
  for (const path of files.sort())
    tar.entry({ name: `registry${path.slice(chartFolder.length)}`, mode: 0o644, mtime }, await readFile(path))
  tar.finalize()
  await written
}
