// What `npm run image` runs.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { writeImage } from './image/image.ts'
import { readSbom, sbomText } from './sbom.ts'
import { project } from './write.ts'

const git = async (...args: string[]): Promise<string | undefined> => {
  try {
    return (await promisify(execFile)('git', args, { cwd: project })).stdout.trim()
  } catch {
    // Sources from an archive.
    return undefined
  }
}

const changed = await git('status', '--porcelain')
const revision = changed === '' ? await git('rev-parse', 'HEAD') : undefined
// The convention of reproducible builds; else the time of the commit.
const seconds = Number(process.env.SOURCE_DATE_EPOCH ?? (await git('log', '-1', '--format=%ct')) ?? 0)
const folder = join(project, 'build/out/image')
const sbom = Buffer.from(sbomText(await readSbom(project)))
const { digest, size } = await writeImage(folder, { modified: new Date(seconds * 1000), revision, sbom })
process.stdout.write(`${folder}: ${digest}, ${(size / 2 ** 20).toFixed(1)} MiB compressed\n`)
