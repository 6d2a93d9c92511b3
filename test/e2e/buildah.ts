import { cp, mkdir, realpath, symlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { librariesOf } from '../../build/image/runtime.ts'
import { must } from './command.ts'

const searchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const nodeAt = 'usr/local/bin/node'
// Parts of glibc that native modules name and Node does not.
const besideGlibc = ['libpthread.so.0', 'libdl.so.2', 'librt.so.1']
const npmAt = 'usr/local/lib/node_modules/npm'
// Where npm's cache of this machine is in a build, so that what `npm ci` has fetched here once is not fetched again.
const npmCache = '/var/cache/npm'

/** What an image says of its start (image-spec, config.md, "Properties"). */
export type ImageConfig = Readonly<Record<string, unknown>>

/** Debian's buildah with a storage of its own, that builds without a container runtime. */
export class Buildah {
  readonly #folder: string
  readonly #mounted: string[] = []

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Makes an image with this Node, npm as it is set up here, and a shell, in place of one that a registry would give. */
  async makeBase(name: string): Promise<void> {
    const root = join(this.#folder, 'base')
    await Promise.all(['tmp', 'root', 'etc', dirname(nodeAt)].map(each => mkdir(join(root, each), { recursive: true })))
    const programs = { [nodeAt]: process.execPath, 'bin/sh': '/bin/sh', 'usr/bin/env': '/usr/bin/env' }
    for (const [path, program] of Object.entries(programs)) await this.#addProgram(root, path, program)
    // bin/npm-cli.js of the package, behind a link on the search path.
    const npm = await realpath((await must('sh', ['-c', 'command -v npm'])).trim())
    await cp(dirname(dirname(npm)), join(root, npmAt), { recursive: true })
    await symlink(`/${npmAt}/bin/npm-cli.js`, join(root, 'usr/local/bin/npm'))
    await this.#addNpmSettings(root)
    await writeFile(join(root, 'Dockerfile'), `FROM scratch\nCOPY . /\nENV PATH=${searchPath}\n`)
    await this.#run('build', '--tag', name, root)
  }

  /** Builds the Dockerfile of a folder from images that are here, in a chroot. */
  async build(name: string, context: string): Promise<void> {
    const cache = (await must('npm', ['config', 'get', 'cache'])).trim()
    await this.#run('build', '--isolation', 'chroot', '--pull=never', '--volume', `${cache}:${npmCache}`, '--tag', name, context)
  }

  /** What an image says of its start. */
  async configOf(name: string): Promise<ImageConfig> {
    return JSON.parse(await this.#run('inspect', '--type', 'image', name)).OCIv1.config
  }

  /** Mounts the files of an image; answers their folder. */
  async mount(name: string): Promise<string> {
    const container = (await this.#run('from', '--pull-never', name)).trim()
    this.#mounted.push(container)
    return (await this.#run('mount', container)).trim()
  }

  /** Takes back what was mounted. */
  async unmount(): Promise<void> {
    for (const container of this.#mounted.splice(0)) await this.#run('rm', container)
  }

  async #addProgram(root: string, path: string, program: string): Promise<void> {
    const libraries = await librariesOf(program)
    const glibc = libraries.find(each => basename(each) === 'libc.so.6')
    const beside = glibc === undefined ? [] : besideGlibc.map(name => join(dirname(glibc), name))
    for (const [to, from] of [[path, program], ...[...libraries, ...beside].map(each => [each, each])] as [string, string][]) {
      await mkdir(dirname(join(root, to)), { recursive: true })
      await cp(from, join(root, to), { dereference: true })
    }
  }

  async #addNpmSettings(root: string): Promise<void> {
    const setting = async (name: string) => (await must('npm', ['config', 'get', name])).trim()
    const settings = [`cache=${npmCache}`, 'prefer-offline=true', `registry=${await setting('registry')}`]
    const authorities = await setting('cafile')
    if (authorities.startsWith('/')) {
      await mkdir(dirname(join(root, authorities)), { recursive: true })
      await cp(authorities, join(root, authorities), { dereference: true })
      settings.push(`cafile=${authorities}`)
    }
    await mkdir(join(root, 'usr/local/etc'))
    await writeFile(join(root, 'usr/local/etc/npmrc'), `${settings.join('\n')}\n`)
  }

  async #run(...args: readonly string[]): Promise<string> {
    const storage = ['--storage-driver', 'overlay', '--root', join(this.#folder, 'storage'), '--runroot', join(this.#folder, 'run')]
    return await must('buildah', [...storage, ...args], { limit: 600_000 })
  }
}
