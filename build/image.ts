// What `npm run image` runs.
import { join } from 'node:path'
import { writeImage } from './image/image.ts'
import { sourceState } from './source-state.ts'
import { project } from './write.ts'

const folder = join(project, 'build/out/image')
const { digest, size } = await writeImage(folder, await sourceState())
process.stdout.write(`${folder}: ${digest}, ${(size / 2 ** 20).toFixed(1)} MiB compressed\n`)
