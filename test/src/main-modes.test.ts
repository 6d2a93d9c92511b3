import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import type { CommandContext } from '../../src/commands/run-operation.ts'
import { verify } from '../../src/commands/verify.ts'
import { operations } from '../../src/operations/operations.ts'
import { program } from '../support/program.ts'
import { filesBelow, folder, pushImage, type Served, unbounded } from './support.ts'
import { inFront, own, path, serveWith } from './why/scene.ts'

/** Runs a command to its end. */
async function run(t: Test, ...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const env = { PATH: process.env['PATH'], HOME: '/' }
  const child: ChildProcess = spawn(process.execPath, [...program, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const texts = { out: '', err: '' }
  child.stdout?.on('data', chunk => {
    texts.out += chunk
  })
  child.stderr?.on('data', chunk => {
    texts.err += chunk
  })
  await once(child, 'close')
  return { code: child.exitCode, ...texts }
}

/** A configuration file. */
function written(t: Test, settings: Record<string, unknown>): string {
  const file = join(folder(t), 'registry.yaml')
  writeFileSync(file, stringify(settings))
  return file
}

/** A configuration by which commands find a registry of this process. */
const fileOf = (t: Test, { config }: Served): string => written(t, { server: { control: config.server.control } })

test('why: exit code 0 and a report that ends with the advice, for a pull that works', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.addImage(path, 'v1')
  const { code, out, err } = await run(t, 'why', `${own}:v1`, '--config', fileOf(t, registry))
  t.match({ code, err }, { code: 0, err: '' })
  t.match(out, /^reference {3}system\/deckhouse:v1\n/)
  t.match(out, /\n\nA pull works.*\.\n$/)
})

test('why: exit code 1 and the cause, for a pull that does not', async t => {
  const { registry, upstream } = await inFront(t)
  await upstream.stop()
  const { code, out } = await run(t, 'why', `${own}:v1`, '--config', fileOf(t, registry))
  t.equal(code, 1)
  t.match(out, /\n\n127\.0\.0\.1:\d+ refuses connections.*\.\n$/)
})

test('why --json: everything that was found', async t => {
  const registry = await serveWith(t, {})
  const { digest } = await pushImage(registry, own, 'v1')
  const { code, out } = await run(t, 'why', `${own}:v1`, '--json', '--config', fileOf(t, registry))
  t.equal(code, 0)
  t.match(JSON.parse(out), { works: true, cause: 'none', manifest: { digest } })
})

test('why: where no registry is running, exit code 1 and a sentence that names the socket', async t => {
  const file = written(t, { storage: { ...unbounded, filesystem: { root: join(folder(t), 'root') } } })
  const { code, out } = await run(t, 'why', `${own}:v1`, '--config', file)
  t.equal(code, 1)
  t.match(out, /No registry is running behind .*control\.sock: start it/)
})

test('verify: references of a file, exit code 0 and a line of JSON each when they are complete', async t => {
  const registry = await serveWith(t, {})
  const { digest } = await pushImage(registry, own, 'v1')
  const set = join(folder(t), 'set.txt')
  writeFileSync(set, `# the platform\n${own}:v1\n\n${own}@${digest}\n`)
  const { code, out, err } = await run(t, 'verify', set, '--config', fileOf(t, registry))
  t.match({ code, err }, { code: 0, err: '' })
  const lines = out
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  t.match(lines, [{ complete: true, digest }, { complete: true, digest }, { total: { references: 2, complete: 2 } }])
})

test('verify: exit code 1 and the missing part, when one is missing', async t => {
  const registry = await serveWith(t, {})
  await pushImage(registry, own, 'v1')
  const { code, out } = await run(t, 'verify', `${own}:v1`, `${own}:v2`, '--config', fileOf(t, registry))
  t.equal(code, 1)
  t.match(out, /"complete":false.*"kind":"tag"/)
})

test('verify: a person gets text, with the sentence last', async t => {
  const registry = await serveWith(t, {})
  await pushImage(registry, own, 'v1')
  const texts: string[] = []
  const context: CommandContext = {
    config: registry.config,
    operations,
    openOffline: () => Promise.reject(new Error('not needed')),
    output: { form: 'text', print: text => texts.push(text) },
    signal: new AbortController().signal
  }
  const complete = await verify([`${own}:v1`, `${own}:v2`], {}, context)
  t.equal(complete, false)
  t.match(texts, [/^complete {4}system/, /^INCOMPLETE {2}system.*\n +missing: tag\n/, /^1 of 2 references are incomplete/])
})

test('verify: an empty set proves nothing, and is exit code 1', async t => {
  const registry = await serveWith(t, {})
  const set = join(folder(t), 'set.txt')
  writeFileSync(set, '# nothing\n')
  t.match(await run(t, 'verify', set, '--config', fileOf(t, registry)), { code: 1 })
})

test('verify: a file that is not there is exit code 1 and a line', async t => {
  const registry = await serveWith(t, {})
  t.match(await run(t, 'verify', '/nowhere/set.txt', '--config', fileOf(t, registry)), { code: 1, out: '', err: /ENOENT/ })
})

const proxy = { registry: { mode: 'Proxy', proxy: { imagesRepo: 'registry.test/deckhouse/ee' }, upstreams: { 'quay.io': {} } } }
const direct = {
  registry: { mode: 'Direct', direct: { imagesRepo: 'old.test/deckhouse/ee', username: 'puller', password: 'secret' } }
}

test('config check: what is accepted as before and should be changed is a warning on standard error, with exit code 0', async t => {
  const file = written(t, { server: { admin: '10.0.0.1:5002' } })
  const { code, out, err } = await run(t, 'config', 'check', file)
  t.strictSame([code, out], [0, `${file} is valid\n`])
  t.match(err, /^warning: server\.admin listens on 10\.0\.0\.1:5002 .*: set server\.adminTLS and grant a user metrics\n$/)
  t.match(await run(t, 'config', 'check', written(t, proxy)), { code: 0, err: '' })
})

test('containerd hosts: stock containerd comes to this registry for its own name and for each further host', async t => {
  const { code, out } = await run(t, 'containerd', 'hosts', '--config', written(t, proxy))
  t.equal(code, 0)
  t.match(out, /^# registry\.d8-system\.svc:5001\/hosts\.toml\n/)
  t.match(out, /\n# quay\.io\/hosts\.toml\n/)
  t.match(out, /server = "http:\/\/127\.0\.0\.1:5001"/)
  t.notMatch(out, /rewrite/)
})

test("containerd hosts: Deckhouse's containerd goes to the upstream in Direct, with its path and its credentials", async t => {
  const { out } = await run(t, 'containerd', 'hosts', '--format', 'deckhouse', '--config', written(t, direct))
  t.match(out, '[host."https://old.test"]')
  t.match(out, `auth = "${Buffer.from('puller:secret').toString('base64')}"`)
  t.match(out, 'replace = "deckhouse/ee"')
})

test('containerd hosts --from: the old mirror comes first', async t => {
  const args = ['--format', 'deckhouse', '--config', written(t, proxy), '--from', written(t, direct)]
  const { out } = await run(t, 'containerd', 'hosts', ...args)
  const [old, next] = [out.indexOf('"https://old.test"'), out.indexOf('"http://127.0.0.1:5001"')]
  t.ok(old > 0 && next > old)
})

test('containerd install and restore: the files are written, and those before them come back', async t => {
  const root = join(folder(t), 'registry.d')
  const file = join(root, 'quay.io/hosts.toml')
  mkdirSync(join(root, 'quay.io'), { recursive: true })
  writeFileSync(file, 'server = "https://quay.io"\n')
  const config = written(t, proxy)
  t.match(await run(t, 'containerd', 'install', '--root', root, '--config', config, '--dry-run'), { code: 0, out: /write .*quay\.io/ })
  t.strictSame(await filesBelow(root), ['quay.io/hosts.toml'], 'a dry run changes nothing')
  t.match(await run(t, 'containerd', 'install', '--root', root, '--config', config), { code: 0 })
  t.match(readFileSync(file, 'utf8'), '127.0.0.1:5001')
  t.match(await run(t, 'containerd', 'install', '--root', root, '--config', config), { code: 0, out: /^nothing to change/ })
  t.match(await run(t, 'containerd', 'restore', '--root', root), { code: 0 })
  t.strictSame(await filesBelow(root), ['quay.io/hosts.toml'])
  t.equal(readFileSync(file, 'utf8'), 'server = "https://quay.io"\n')
})

test('containerd hosts: a user needs a password, and a faulty value writes nothing', async t => {
  const config = written(t, proxy)
  t.match(await run(t, 'containerd', 'hosts', '--config', config, '--username', 'ro'), { code: 1, out: '', err: /go together/ })
  const faulty = ['--oldest', 'new', '--dial-timeout', '1s']
  t.match(await run(t, 'containerd', 'hosts', '--config', config, ...faulty), { code: 1, out: '', err: /version of containerd/ })
})

test('containerd hosts --agent: one static host for every name, in Direct too, with the password of a file', async t => {
  const password = join(folder(t), 'password')
  writeFileSync(password, 'a"b\n')
  const config = written(t, { registry: { ...direct.registry, upstreams: { 'quay.io': {} } } })
  const as = ['--username', 'node', '--password-file', password]
  for (const [format, secret] of [
    ['stock', `Authorization = "Basic ${Buffer.from('node:a"b').toString('base64')}"`],
    ['deckhouse', `auth = "${Buffer.from('node:a"b').toString('base64')}"`]
  ] as const) {
    const { out } = await run(t, 'containerd', 'hosts', '--agent', ...as, '--config', config, '--format', format)
    t.same(out.match(/^# .*\/hosts\.toml$/gm), ['# registry.d8-system.svc:5001/hosts.toml', '# quay.io/hosts.toml'])
    t.same([...new Set(out.match(/https?:[^"]*/g))], ['https://127.0.0.1:5001'], 'no upstream and no other host')
    t.match(out, secret)
  }
  t.match(await run(t, 'containerd', 'hosts', '--agent', 'http://127.0.0.1:5005'), {
    code: 0,
    out: /^server = "http:\/\/127\.0\.0\.1:5005"$/m
  })
})

test('containerd hosts --replica: all replicas, the local one first, and a dead one costs a second', async t => {
  const replicas = ['--replica', '10.0.0.1:5001', '10.0.0.2:5001', '--replica', '10.0.0.3:5001']
  const { out } = await run(t, 'containerd', 'hosts', ...replicas, '--local', '10.0.0.2:5001', '--oldest', '2.1')
  t.same(out.match(/^(server|\[host).*https.*$/gm), [
    'server = "https://10.0.0.3:5001"',
    '[host."https://10.0.0.2:5001"]',
    '[host."https://10.0.0.1:5001"]'
  ])
  t.equal(out.match(/^dial_timeout = "1s"$/gm)?.length, 3)
  const wrong = await run(t, 'containerd', 'hosts', ...replicas, '--local', '10.0.0.4:5001')
  t.match(wrong, { code: 1, out: '', err: /--local 10\.0\.0\.4:5001: expected one of 10\.0\.0\.1:5001, / })
  t.match(await run(t, 'containerd', 'hosts', '--local', '10.0.0.4:5001'), { code: 1, out: '', err: /expected --replica/ })
})

test('containerd hosts: the configuration of an agent says the names, the address and the password', async t => {
  const replicas = { replicas: [{ address: '10.0.0.1:5001' }] }
  const routes = [
    { names: ['registry.d8-system.svc:5001'], pools: [replicas] },
    { names: ['docker.io', 'quay.io'], pools: [replicas] }
  ]
  const config = written(t, { agent: { listen: '127.0.0.1:5005', clients: { username: 'node', password: 'a"b' }, routes } })
  const { out, err } = await run(t, 'containerd', 'hosts', '--config', config)
  t.equal(err, '')
  t.same(
    out.match(/^# .*\/hosts\.toml$/gm),
    ['registry.d8-system.svc:5001', 'docker.io', 'quay.io'].map(name => `# ${name}/hosts.toml`)
  )
  t.equal(out.match(/^server = "http:\/\/127\.0\.0\.1:5005"$/gm)?.length, 3)
  t.match(out, `Authorization = "Basic ${Buffer.from('node:a"b').toString('base64')}"`)
  t.match(await run(t, 'containerd', 'hosts', '--config', config, '--mirror', 'a:1'), {
    code: 1,
    out: '',
    err: /of an agent: --mirror has no place/
  })
})

test('containerd hosts --host: the names come from the command line, for an agent or replicas alone', async t => {
  const { out } = await run(t, 'containerd', 'hosts', '--agent', '--host', 'registry.d8-system.svc:5001', '--host', 'docker.io')
  t.same(out.match(/^# .*\/hosts\.toml$/gm), ['# registry.d8-system.svc:5001/hosts.toml', '# docker.io/hosts.toml'])
  t.match(await run(t, 'containerd', 'hosts', '--host', 'docker.io'), {
    code: 1,
    out: '',
    err: /--host: expected --agent or --replica beside it/
  })
  const hostile = await run(t, 'containerd', 'hosts', '--agent', '--host', '../etc')
  t.match(hostile, { code: 1, out: '', err: /host: expected a host name/ })
})

test('containerd hosts: an agent has no place beside replicas, another mirror or what was before', async t => {
  for (const other of [
    ['--mirror', 'a:1'],
    ['--replica', 'a:1'],
    ['--from', 'old.yaml']
  ]) {
    t.match(await run(t, 'containerd', 'hosts', '--agent', '--config', 'x', ...other), { code: 2, out: '', err: /cannot be used with/ })
  }
})

for (const args of [['why'], ['verify'], ['containerd'], ['containerd', 'hosts', '--format', 'podman']]) {
  test(`exit code 2 and a line on standard error: ${args.join(' ')}`, async t => {
    const { code, out, err } = await run(t, ...args)
    t.match({ code, out }, { code: 2, out: '' })
    t.not(err, '')
  })
}
