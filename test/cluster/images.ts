import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDockerArchive } from '../../build/image/docker-archive.ts'
import { architecture } from '../../build/image/image.ts'
import { makeLayer } from '../../build/image/layer.ts'
import pkg from '../../package.json' with { type: 'json' }
import { pathOf } from '../e2e/tool.ts'

/** The image of the registry as its archive names it, and that archive (`npm run image`). */
export const ownImage = {
  reference: `registry:${pkg.version}`,
  /** The same, as containerd lists it. */
  listed: `docker.io/library/registry:${pkg.version}`,
  archive: join(process.env['REGISTRY_TEST_IMAGE'] ?? join(import.meta.dirname, '../../build/out/image'), 'image.tar')
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
