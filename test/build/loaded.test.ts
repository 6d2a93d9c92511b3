import { join } from 'node:path'
import { build, type Metafile } from 'esbuild'
import { test } from 'tap'

// What a command loads is what it has in memory on every node, and what can be wrong with it.

const project = join(import.meta.dirname, '../..')

const { inputs }: Metafile = (
  await build({
    absWorkingDir: project,
    entryPoints: ['src/main.ts'],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    write: false,
    metafile: true,
    external: ['@node-rs/bcrypt'],
    logLevel: 'silent'
  })
).metafile

/** The modules that are loaded with these, without those of dynamic imports. */
function loadedWith(...entries: readonly string[]): string[] {
  const seen = new Set<string>()
  const visit = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    for (const each of inputs[path]?.imports ?? []) if (each.kind !== 'dynamic-import') visit(each.path)
  }
  for (const entry of entries) visit(entry)
  return [...seen].sort()
}

const agentEntries = ['src/main.ts', 'src/telemetry/log.ts', 'src/app/agent/start.ts']

test('the agent loads nothing of storage, content, buckets, users, and nothing of serve', async t => {
  const loaded = loadedWith(...agentEntries)
  t.ok(loaded.includes('src/upstream/upstream.ts') && loaded.some(each => each.includes('node_modules/undici/')), 'the graph is whole')
  // Two helpers without any state.
  const helpers = ['storage/keyed-mutex.ts', 'storage/semaphore.ts']
  const foreign =
    /^(storage|src\/(content|operations|why|copy|containerd|http)|config\/(settings\.json|schema\.ts))|^src\/app\/[^/]*store|bcrypt|node_modules\/(@aws-sdk|@smithy|jose|typebox|smol-toml|fastify|avvio|light-my-request)\//
  t.same(
    loaded.filter(each => foreign.test(each) && !helpers.includes(each)),
    []
  )
})

test('serve loads nothing of the agent', async t => {
  const loaded = loadedWith('src/main.ts', 'src/telemetry/log.ts', 'config/load.ts', 'src/app/server.ts')
  t.ok(loaded.includes('src/content/content.ts'), 'the graph is whole')
  t.same(
    loaded.filter(each => /(^|\/)agent\//.test(each)),
    []
  )
})

test('serve and the agent load nothing of the node command, and that loads no certificate library before one is due', async t => {
  const node = (path: string) => /^(src\/node\/|config\/node\/|src\/commands\/node\.ts)/.test(path)
  const library = (path: string) => /node_modules\/(@peculiar|reflect-metadata|tsyringe|asn1js)\//.test(path)
  const serving = loadedWith('src/main.ts', 'src/telemetry/log.ts', 'config/load.ts', 'src/app/server.ts', ...agentEntries)
  t.same(serving.filter(node), [])
  const command = loadedWith('src/main.ts', 'src/commands/node.ts')
  t.ok(command.some(node) && loadedWith('src/node/pki/issue.ts').some(library), 'the graph is whole')
  t.same(
    [...serving, ...command].filter(each => library(each) || /node_modules\/typebox\//.test(each)),
    []
  )
})

test('serve, the agent and the node command load nothing of the controller, and that loads no certificate library before one is due', async t => {
  const controller = (path: string) => /^src\/(controller|kubernetes|app\/controller)\//.test(path)
  const library = (path: string) => /(node_modules\/(@peculiar|reflect-metadata|tsyringe|asn1js)\/)|bcrypt/.test(path)
  const others = loadedWith(
    'src/main.ts',
    'src/telemetry/log.ts',
    'config/load.ts',
    'src/app/server.ts',
    'src/commands/node.ts',
    ...agentEntries
  )
  t.same(others.filter(controller), [])
  const loaded = loadedWith('src/main.ts', 'src/commands/controller.ts', 'src/app/controller/start.ts')
  t.ok(loaded.filter(controller).length > 20, 'the graph is whole')
  t.same(loaded.filter(library), [])
})
