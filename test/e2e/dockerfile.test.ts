// The report: the image of `npm run image` starts as the Dockerfile says, but whether a container engine can build that
// file, and whether the same program comes out, was never tried. No registry of images is in reach, so what the Dockerfile
// is built from is made here: this machine's Node, npm and shell under the name that the Dockerfile gives.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import tap, { test } from 'tap'
import { readRunConfig } from '../../build/image/dockerfile.ts'
import { writeImage } from '../../build/image/image.ts'
import pkg from '../../package.json' with { type: 'json' }
import { filesBelow } from '../src/support.ts'
import { Buildah } from './buildah.ts'
import { must } from './command.ts'
import { unpackImage } from './image.ts'
import { Layout, sha256 } from './layout.ts'
import { temporaryFolder } from './place.ts'
import { hasTools, isRoot } from './tool.ts'

const name = 'localhost/registry:dockerfile'
// It installs the packages twice, as a build of the Dockerfile does.
const timeout = 900_000
tap.setTimeout(timeout)

/** The digests of all files, by their paths, and of V8's cache that it is there: it differs with each build that is started warm. */
async function contentOf(folder: string): Promise<Record<string, string>> {
  const entries = (await filesBelow(folder)).map(async path => {
    const content = path.endsWith('.js.cache') ? 'a cache' : sha256(await readFile(join(folder, path)))
    return [path, content] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

test('Dockerfile: buildah builds it, and the image holds the program that `npm run image` writes', { timeout }, async t => {
  if (!hasTools(t, 'buildah', 'npm') || !isRoot(t)) return
  const folder = await temporaryFolder(t)
  const buildah = new Buildah(folder)
  await buildah.makeBase('docker.io/library/node:24-slim')
  await buildah.build(name, '.')
  const config = await buildah.configOf(name)
  t.match(config, readRunConfig(await readFile('Dockerfile', 'utf8')), 'it starts as the Dockerfile says')
  t.match(config, { Labels: { 'io.cri-containerd.pinned': 'pinned' } })

  const { digest } = await writeImage(join(folder, 'image'), { modified: new Date(0) })
  await unpackImage(Layout.open(join(folder, 'image/layout')), digest, join(folder, 'unpacked'))
  const root = await buildah.mount(name)
  t.teardown(() => buildah.unmount())
  const program = await contentOf(join(root, 'app'))
  t.match(Object.keys(program).join('\n'), /^dist\/src\/program-\w+\.js$/m)
  t.strictSame(program, await contentOf(join(folder, 'unpacked/app')))
  const command = ['chroot', '--userspec=64535:64535', root, '/usr/local/bin/node', '/app/dist/src/main.js', '--version']
  const started = await must('env', ['-i', `PATH=${process.env['PATH']}`, ...command])
  t.match(started, pkg.version)
})
