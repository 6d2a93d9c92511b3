import { createHash } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { type BuildOptions, build, type Plugin } from 'esbuild'
import { refusedPackages } from './licenses.ts'
import { packageFolders, writeNotices } from './notices.ts'
import { wrapper } from './program.ts'
import { readSbom, sbomText } from './sbom.ts'
import { type LastingCommand, warmUp } from './warm-up.ts'

/** The folder that package.json is in. */
export const project = dirname(import.meta.dirname)

const options = {
  absWorkingDir: project,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  write: false,
  metafile: true,
  // The same script with a tsconfig.json beside it and without.
  tsconfigRaw: {},
  // And where node_modules is a link to those of another checkout.
  preserveSymlinks: true,
  // It would be undefined in what is written.
  logOverride: { 'empty-import-meta': 'error' }
} as const

/** Native modules, which cannot be bundled: the program loads them from `node_modules`. */
export const nativeModules: readonly string[] = ['@node-rs/bcrypt']

/**
 * Writes the program to `dist`, in the place of what was there: one script, one of what `registry agent` needs, what V8
 * makes of them by `cache`, and `src/main.js` that runs one of them; beside them the SBOM and the notices of what is in
 * them. Resolves to the path of the first script.
 */
export async function writeProgram(dist: string, cache: MakeCache = warmUp): Promise<string> {
  const folder = join(dist, 'src')
  const sbom = await readSbom(project)
  const refused = refusedPackages(sbom.components)
  if (refused.length > 0) throw new Error(`these licences are not among the allowed ones (build/licenses.ts): ${refused.join('; ')}`)
  await rm(dist, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await writeFile(join(dist, 'package.json'), '{ "type": "commonjs" }\n')

  // What is loaded only where it is configured is a script of its own, so that no other start has it in memory.
  const scripts = await Promise.all(loadedApart.map(source => writeApart(folder, source)))
  const names = new Map(scripts.map(({ source, name }) => [source, name]))
  const program = await writeStarted(folder, 'program', { external: [...nativeModules], ...apart(names) })
  const agent = await writeStarted(folder, 'agent', { external: [...nativeModules], ...ofAgent() })
  const define = { PROGRAM: JSON.stringify(basename(program.script)), AGENT: JSON.stringify(basename(agent.script)) }
  const main = await bundle('build/main.ts', { define })
  await writeFile(join(folder, 'main.js'), `#!/usr/bin/env node\n${main.text}`, { mode: 0o755 })
  await cache(program.script, 'serve')
  await cache(agent.script, 'agent')
  await writeFile(join(dist, originFiles.sbom), sbomText(sbom))
  await writeFile(join(dist, originFiles.notices), await noticesOf([...scripts, program, agent, main].flatMap(each => each.modules)))
  return program.script
}

/** Makes the cache of a script, which starts this command. */
export type MakeCache = (script: string, command: LastingCommand) => Promise<void>

// A name of its own for each content: of the script that a cache belongs to V8 compares no more than the length.
async function writeStarted(folder: string, name: string, more: More): Promise<{ script: string; modules: string[] }> {
  const { text, modules } = await bundle('src/main.ts', more)
  const program = wrapper.before + text.replace(/^#!.*/, '') + wrapper.after
  const script = join(folder, `${name}-${digestOf(program)}.js`)
  await writeFile(script, program)
  return { script, modules }
}

/** The SBOM beside the program, and the notices of bundled packages. */
export const originFiles = { sbom: 'sbom.cdx.json', notices: 'THIRD-PARTY-NOTICES.txt' } as const

// Native modules are not bundled and have their licences in their folders, but not those built for one platform.
function noticesOf(modules: readonly string[]): Promise<string> {
  const require = createRequire(join(project, 'package.json'))
  const native = nativeModules.map(name => dirname(require.resolve(`${name}/package.json`)))
  const folders = packageFolders(modules).map(folder => resolve(project, folder))
  return writeNotices([...folders, ...native])
}

type More = Pick<BuildOptions, 'external' | 'define' | 'plugins' | 'supported'>

/** The modules with a large library that few configurations need; each is imported dynamically, in one place. */
export const loadedApart: readonly string[] = ['storage/s3/s3.ts', 'src/access/tokens/jwt.ts', 'src/node/pki/issue.ts']

async function writeApart(folder: string, source: string): Promise<{ source: string; name: string; modules: string[] }> {
  const { text, modules } = await bundle(source, { supported: { 'dynamic-import': false } })
  const name = `${basename(source, '.ts')}-${digestOf(text)}.js`
  await writeFile(join(folder, name), text)
  return { source, name: `./${name}`, modules }
}

// The modules that `scripts` has are not bundled but loaded from there, by `require`: where the program runs there is
// no import.
function apart(scripts: ReadonlyMap<string, string>): More {
  const plugin: Plugin = {
    name: 'apart',
    setup: build =>
      build.onResolve({ filter: /\.ts$/ }, ({ path, kind, resolveDir }) => {
        const script = kind === 'dynamic-import' ? scripts.get(relative(project, join(resolveDir, path))) : undefined
        return script === undefined ? undefined : { path: script, external: true }
      })
  }
  return { plugins: [plugin], supported: { 'dynamic-import': false } }
}

// Of the commands nothing but the agent: on every node of a cluster all else would be in its memory.
function ofAgent(): More {
  const plugin: Plugin = {
    name: 'of-agent',
    setup: build =>
      build.onResolve({ filter: /\.ts$/ }, ({ path, kind, importer, resolveDir }) => {
        const isCommand = kind === 'dynamic-import' && /^src\/(main\.ts|commands\/)/.test(relative(project, importer))
        const needed = agentModules.includes(relative(project, join(resolveDir, path)))
        return isCommand && !needed ? { path, external: true } : undefined
      })
  }
  return { plugins: [plugin], supported: { 'dynamic-import': false } }
}

const agentModules: readonly string[] = ['src/telemetry/log.ts', 'src/app/agent/start.ts']

function digestOf(script: string): string {
  return createHash('sha256').update(script).digest('hex').slice(0, 12)
}

// The index of undici also loads fetch, WebSocket, caches and more, which no part of the program uses: half of its code,
// and 6 MiB of each process with an upstream. A name that is missing here ends the build.
const connections: Plugin = {
  name: 'connections',
  setup: build => {
    build.onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'connections' }))
    // Left out where `request` is not used.
    build.onResolve({ filter: /api-request\.js$/ }, () => ({ path: join(project, apiRequest), sideEffects: false }))
    build.onLoad({ filter: /.*/, namespace: 'connections' }, () => ({ contents: dispatchers, resolveDir: project }))
  }
}

const apiRequest = 'node_modules/undici/lib/api/api-request.js'

// `request` is the controller's; in the index it is a method of all dispatchers too.
const dispatchers = [
  ...['agent', 'pool', 'proxy-agent'].map(file => `export { default as ${classOf(file)} } from 'undici/lib/dispatcher/${file}.js'`),
  "import send from 'undici/lib/api/api-request.js'",
  'export const request = ({ origin, pathname, search }, { dispatcher, ...options }) =>',
  '  send.call(dispatcher, { ...options, origin, path: pathname + search })'
].join('\n')

// `ProxyAgent` of `proxy-agent`.
function classOf(file: string): string {
  return file.replaceAll(/(?:^|-)(.)/g, (_, letter: string) => letter.toUpperCase())
}

async function bundle(entry: string, { plugins = [], ...more }: More): Promise<{ text: string; modules: string[] }> {
  const { outputFiles, metafile } = await build({ ...options, entryPoints: [entry], plugins: [connections, ...plugins], ...more })
  return { text: outputFiles.map(each => each.text).join(''), modules: Object.keys(metafile.inputs) }
}
