import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { readRunConfig } from '../image/dockerfile.ts'
import { readCache } from '../program.ts'
import { cacheReproducibly } from '../reproducible.ts'
import { startFlags } from '../warm-up.ts'
import { loadedApart, project, writeProgram } from '../write.ts'

const run = promisify(execFile)
const require = createRequire(join(project, 'package.json'))

// Where Node looks for the blob, and the bytes that say whether there is one (Node, "Single executable applications").
const blobName = 'NODE_SEA_BLOB'
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'

/**
 * Writes the program with this Node as one executable file. It needs the shared libraries of C and C++ that
 * Node does, no Node and no `node_modules`. The same sources give the same bytes. `scratch` holds its parts meanwhile.
 */
export async function writeExecutable(file: string, scratch: string): Promise<void> {
  const script = await writeProgram(join(scratch, 'dist'), cacheReproducibly)
  const cache = readCache(script)
  if (!cache) throw new Error(`${script} has no cache`)
  const cacheFile = join(scratch, 'program.js.cache')
  await writeFile(cacheFile, cache)
  const required = (await readFile(script, 'latin1')).match(/(?<=require\("\.\/)[a-z0-9-]+-[0-9a-f]{12}\.js(?="\))/g)
  const apart = [...new Set(required)]
  if (apart.length !== loadedApart.length) throw new Error(`${script} loads ${apart} apart, in place of ${loadedApart}`)
  const bcrypt = nativeBinding('@node-rs/bcrypt')

  const main = join(scratch, 'main.js')
  await build({
    entryPoints: [join(project, 'build/executable/main.ts')],
    outfile: main,
    absWorkingDir: project,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    tsconfigRaw: {},
    define: {
      ENVIRONMENT: JSON.stringify(await startEnvironment()),
      SCRIPTS: JSON.stringify(Object.fromEntries(apart.map(name => [`./${name}`, name]))),
      NATIVE_MODULES: JSON.stringify({ '@node-rs/bcrypt': basename(bcrypt) })
    }
  })
  const blob = join(scratch, 'blob')
  const config = join(scratch, 'sea.json')
  const scripts = Object.fromEntries(apart.map(name => [name, join(dirname(script), name)]))
  const assets = { 'program.js': script, 'program.js.cache': cacheFile, ...scripts, [basename(bcrypt)]: bcrypt }
  const options = { disableExperimentalSEAWarning: true, execArgv: startFlags, execArgvExtension: 'none' }
  // Relative: the path of the script is a part of the blob.
  await writeFile(config, JSON.stringify({ main: basename(main), output: blob, assets, ...options }))
  await run(process.execPath, ['--experimental-sea-config', config], { cwd: scratch })

  await mkdir(dirname(file), { recursive: true })
  // A running executable cannot be overwritten, and may go on.
  await rm(file, { force: true })
  await copyFile(process.execPath, file)
  // Its own process: it warns of each section of Node's file that it does not know.
  await run(process.execPath, [require.resolve('postject/dist/cli.js'), file, blobName, blob, '--sentinel-fuse', fuse])
}

/** The environment that the image starts with; its search path is the machine's own affair here. */
async function startEnvironment(): Promise<Record<string, string>> {
  const { Env } = readRunConfig(await readFile(join(project, 'Dockerfile'), 'utf8'))
  const pairs = Env.map(each => each.split(/=(.*)/s, 2)).filter(([name]) => name !== 'PATH')
  return Object.fromEntries(pairs)
}

/** The shared library of a native module for this platform. */
export function nativeBinding(name: string): string {
  const own = createRequire(require.resolve(`${name}/package.json`))
  const short = basename(name)
  const platform = `${process.platform}-${process.arch}-gnu`
  return own.resolve(`${name}-${platform}/${short}.${platform}.node`)
}
