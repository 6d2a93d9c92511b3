// What `npm run build` runs.
import { join } from 'node:path'
import { project, writeProgram } from './write.ts'

await writeProgram(join(project, 'dist'))
