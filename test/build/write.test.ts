import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { Script } from 'node:vm'
import { crc32 } from 'node:zlib'
import { test } from 'tap'
import { cacheOf } from '../../build/program.ts'
import { loadedApart, originFiles, project, writeProgram } from '../../build/write.ts'
import pkg from '../../package.json' with { type: 'json' }

const run = promisify(execFile)
const startFlags = /node ((?:--\S+ )+)src\/main\.ts/.exec(pkg.scripts.start)?.[1]?.trim().split(' ') ?? []

// In a process of its own: V8 does not look at the cache of what it has compiled before.
async function rejected(script: string, flags: string[] = startFlags): Promise<string> {
  const asked = `import { compile } from ${JSON.stringify(join(project, 'build/program.ts'))}
    process.stdout.write(String(compile(process.argv[1]).cachedDataRejected))`
  return (await run(process.execPath, [...flags, '--input-type=module', '--eval', asked, script])).stdout
}

test('a build', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'registry-build-test-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await symlink(join(project, 'node_modules'), join(folder, 'node_modules'))
  const script = await writeProgram(join(folder, 'dist'))
  const main = join(dirname(script), 'main.js')
  const version = async () => (await run(process.execPath, [...startFlags, main, '--version'])).stdout.trim()

  await t.test('holds the script, its cache, what runs them, the SBOM and the notices, and nothing else', async t => {
    const found = (await readdir(join(folder, 'dist'), { recursive: true })).map(each => join(folder, 'dist', each))
    const apart = loadedApart.map(source => basename(source, '.ts'))
    const scripts = found.filter(each => /-[0-9a-f]{12}\.js$/.test(each) && each !== script)
    const names = scripts.map(each => basename(each).replace(/-[0-9a-f]{12}\.js$/, ''))
    t.strictSame(names.sort(), ['agent', ...apart].sort())
    const agent = scripts.find(each => basename(each).startsWith('agent-')) ?? ''
    t.notMatch(
      await readFile(agent, 'latin1'),
      /\/\/ (storage\/(fs|s3)|src\/content|node_modules\/fastify)\//,
      'an agent has nothing else in memory'
    )
    const beside = ['package.json', originFiles.sbom, originFiles.notices].map(each => join(folder, 'dist', each))
    t.strictSame(found.sort(), [...beside, dirname(script), main, ...scripts, cacheOf(agent), script, cacheOf(script)].sort())
    t.notMatch(
      await readFile(script, 'latin1'),
      /node_modules\/(@aws-sdk|@smithy|jose)\//,
      'the client of buckets and the library of tokens are not loaded by others'
    )
  })

  await t.test('has a cache that V8 takes with the flags of the start', async t => {
    t.ok(startFlags.length > 0)
    t.equal(await rejected(script), 'false')
  })

  await t.test('serves where nothing can be written beside it', async t => {
    await chmod(dirname(script), 0o555)
    t.teardown(() => chmod(dirname(script), 0o755))
    const config = join(folder, 'registry.yaml')
    const server = { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }
    await writeFile(config, JSON.stringify({ server, storage: { filesystem: { root: join(folder, 'root') } } }))
    const child = spawn(process.execPath, [...startFlags, main, 'serve', '--config', config], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const ended = once(child, 'close')
    for await (const line of createInterface(child.stdout)) {
      const { msg, listen } = JSON.parse(line)
      if (msg !== 'the registry is ready') continue
      t.equal((await fetch(`http://${listen}/v2/`)).status, 200)
      child.kill('SIGTERM')
    }
    t.strictSame(await ended, [0, null])
  })

  const whole = await readFile(cacheOf(script))
  const middle = whole.length >> 1
  const faulty = {
    'is cut short': whole.subarray(0, middle),
    'is empty': Buffer.alloc(0),
    'has a wrong byte': Buffer.concat([whole.subarray(0, middle), Buffer.from([~(whole[middle] ?? 0)]), whole.subarray(middle + 1)])
  }
  for (const [fault, bytes] of Object.entries(faulty)) {
    await t.test(`runs with a cache that ${fault}`, async t => {
      await writeFile(cacheOf(script), bytes)
      t.equal(await rejected(script), 'undefined')
      t.equal(await version(), pkg.version)
    })
  }

  await t.test('runs with a cache that V8 does not take', async t => {
    const other = new Script('1').createCachedData()
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32(other))
    await writeFile(cacheOf(script), Buffer.concat([sum, other]))
    t.equal(await rejected(script), 'true')
    t.equal(await version(), pkg.version)
  })

  await t.test('runs without a cache', async t => {
    await rm(cacheOf(script))
    t.equal(await rejected(script), 'undefined')
    t.equal(await version(), pkg.version)
  })
})
