import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDockerArchive } from '../../build/image/docker-archive.ts'
import { architecture, imageReference } from '../../build/image/image.ts'
import { makeLayer } from '../../build/image/layer.ts'
import { pathOf } from '../e2e/tool.ts'

const made = process.env['REGISTRY_TEST_IMAGE'] ?? join(import.meta.dirname, '../../build/out/image')

/** The image of the registry as nodes have it that import its archive, and that archive (`npm run image`). */
export const ownImage = {
  reference: imageReference,
  archive: join(made, 'image.tar')
} as const

/** The user that the image runs as. */
export const ownUser = 64535

/** The image whose container holds the namespaces of a pod. */
export const pauseImage = 'localhost/pause:v1'

/** Writes the archive of an image whose one program waits until it is told to end. */
export async function writePauseArchive(file: string, reference: string = pauseImage): Promise<void> {
  const program = pathOf('pause')
  if (program === undefined) throw new Error('test/tools/build pause has not been run')
  const modified = new Date(0)
  const layers = [await makeLayer([{ path: '/pause', content: await readFile(program), mode: 0o755 }], modified)]
  const content = { config: { Entrypoint: ['/pause'] }, rootfs: { type: 'layers', diff_ids: layers.map(each => each.diffId) } }
  const config = Buffer.from(JSON.stringify({ created: modified.toISOString(), os: 'linux', architecture, ...content }))
  await writeDockerArchive(file, { config, layers, reference, modified })
}
