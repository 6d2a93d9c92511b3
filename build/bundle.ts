// What `npm run bundle` runs.
import { join } from 'node:path'
import pkg from '../package.json' with { type: 'json' }
import { writeBundle } from './bundle/bundle.ts'
import { architecture } from './image/image.ts'
import { sourceState } from './source-state.ts'
import { project } from './write.ts'

const folder = join(project, 'build/out/bundle')
const archive = join(folder, `registry-${pkg.version}-linux-${architecture}.tar.gz`)
await writeBundle(archive, folder, await sourceState())
process.stdout.write(`${archive}\n`)
