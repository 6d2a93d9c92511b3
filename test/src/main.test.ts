import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import pkg from '../../package.json' with { type: 'json' }
import { program } from '../support/program.ts'
import { Wire } from './api/wire.ts'
import { ask, bytesOf, digestOf, folder, unbounded } from './support.ts'

const MIB = 1024 * 1024

/** The exit code and output of a process. */
interface Ended {
  code: number | null
  out: string
  err: string
}

/** A process of the program. */
class Program {
  readonly child: ChildProcess
  out = ''
  err = ''

  constructor(t: Test, args: readonly string[], options: { uid?: number; cwd?: string } = {}) {
    const env = { PATH: process.env['PATH'], HOME: '/' }
    this.child = spawn(process.execPath, [...program, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'], ...options })
    this.child.stdout?.on('data', chunk => {
      this.out += chunk
    })
    this.child.stderr?.on('data', chunk => {
      this.err += chunk
    })
    t.teardown(() => this.child.kill('SIGKILL'))
  }

  async end(): Promise<Ended> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'close')
    return { code: this.child.exitCode, out: this.out, err: this.err }
  }

  /** The lines of its log. */
  get lines(): Record<string, unknown>[] {
    return this.out
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line))
  }

  /** The first line with this message; rejects when the process ends without it. */
  async logged(msg: string): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.lines.find(line => line['msg'] === msg)
      if (found) return found
      const ended = await Promise.race([
        once(this.child.stdout ?? this.child, 'data').then(() => false),
        once(this.child, 'close').then(() => true)
      ])
      if (ended) throw new Error(`it ended without "${msg}": ${this.out}${this.err}`)
    }
  }
}

const run = (t: Test, ...args: string[]): Promise<Ended> => new Program(t, args).end()

/** A configuration on free ports. */
function configFile(t: Test, more: { root?: string; listen?: string; [setting: string]: unknown } = {}) {
  const place = folder(t)
  const { root = join(place, 'root'), listen = '127.0.0.1:0', ...sections } = more
  const file = join(place, 'registry.yaml')
  writeFileSync(
    file,
    stringify({ server: { listen, admin: '127.0.0.1:0', drain: '20s' }, storage: { ...unbounded, filesystem: { root } }, ...sections })
  )
  return { file, root }
}

/** A running registry. */
async function serve(t: Test, more: Parameters<typeof configFile>[1] = {}) {
  const { file, root } = configFile(t, more)
  const running = new Program(t, ['serve', '--config', file])
  const { listen, admin } = await running.logged('the registry is ready')
  return { running, file, root, listen: String(listen), admin: String(admin) }
}

test('--help: the commands, with examples, and exit code 0', async t => {
  const { code, out } = await run(t, '--help')
  t.equal(code, 0)
  for (const each of ['serve', 'config', 'status', 'log-level', 'Examples:']) t.match(out, each)
})

test('--version: the version, and exit code 0', async t => {
  t.match(await run(t, '--version'), { code: 0, out: `${pkg.version}\n` })
})

for (const args of [['nonsense'], ['serve', '--nonsense'], ['config', 'check'], ['log-level'], []]) {
  test(`exit code 2 and a line on standard error: ${args.join(' ') || 'no command'}`, async t => {
    const { code, out, err } = await run(t, ...args)
    t.equal(code, 2)
    t.equal(out, '')
    t.not(err, '')
  })
}

test('config check: exit code 0 for a valid file', async t => {
  const { file } = configFile(t)
  t.match(await run(t, 'config', 'check', file), { code: 0, out: `${file} is valid\n`, err: '' })
})

test('config check: exit code 2 and one line a fault, with file, line and path', async t => {
  const file = join(folder(t), 'bad.yaml')
  writeFileSync(file, 'server:\n  listen: nonsense\nlimits:\n  uploads: none\n  unknown: 1\n')
  const { code, out, err } = await run(t, 'config', 'check', file)
  t.equal(code, 2)
  t.equal(out, '')
  const lines = err.trimEnd().split('\n')
  t.equal(lines.length, 3)
  t.match(lines[0], /bad\.yaml:2:? .*server\.listen/)
})

test('config check: exit code 2 for a file that is not there', async t => {
  t.match(await run(t, 'config', 'check', '/nowhere/at/all.yaml'), { code: 2, err: /ENOENT/ })
})

test('serve: a wrong setting ends with exit code 2 before anything starts', async t => {
  const file = join(folder(t), 'bad.yaml')
  writeFileSync(file, 'server: { listen: "0.0.0.0:0" }\n')
  t.match(await run(t, 'serve', '--config', file), { code: 2, out: '', err: /server\.listen.*auth/ })
})

test('config effective: it prints a valid configuration', async t => {
  const { file, root } = configFile(t)
  const { code, out } = await run(t, 'config', 'effective', file)
  t.equal(code, 0)
  t.match(out, root)
  const again = join(folder(t), 'again.yaml')
  writeFileSync(again, out)
  t.equal((await run(t, 'config', 'check', again)).code, 0)
})

test('config schema: a JSON Schema', async t => {
  const { code, out } = await run(t, 'config', 'schema')
  t.equal(code, 0)
  t.match(JSON.parse(out), { properties: { server: Object, storage: Object } })
})

test('status: the running registry as JSON', async t => {
  const { file, listen } = await serve(t)
  const { code, out } = await run(t, 'status', '--config', file)
  t.equal(code, 0)
  t.match(JSON.parse(out), { mode: 'Local', version: pkg.version, listen })
})

test('status: where none is running, exit code 1 and a line', async t => {
  const { file } = configFile(t)
  t.match(await run(t, 'status', '--config', file), {
    code: 1,
    out: '',
    err: /^no registry is running behind .*control\.sock, and there is no directory .*\n$/
  })
})

test('log-level: the running registry takes it', async t => {
  const { file } = await serve(t)
  t.match(await run(t, 'log-level', 'debug', '--config', file), { code: 0, out: 'the log level is debug\n' })
  t.match(JSON.parse((await run(t, 'status', '--config', file)).out), { log: { level: 'debug' } })
})

test('log-level: one that there is not is exit code 1', async t => {
  const { file } = await serve(t)
  t.match(await run(t, 'log-level', 'loud', '--config', file), { code: 1, err: /level/ })
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`serve: ${signal} ends with exit code 0`, async t => {
    const { running } = await serve(t)
    running.child.kill(signal)
    const { code } = await running.end()
    t.equal(code, 0)
    t.match(running.lines.at(-1), { msg: 'the registry has stopped', clean: true })
  })
}

test('serve: SIGTERM lets a running transfer end, takes no new connection, and ends with exit code 0', async t => {
  const { running, listen } = await serve(t)
  const bytes = bytesOf(48 * MIB)
  const digest = digestOf(bytes)
  t.equal((await ask(listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes })).status, 201)
  const wire = await Wire.dial(t, listen)
  wire.head(`GET /v2/a/blobs/${digest}`)
  await wire.bytes(1000)
  wire.socket.pause()
  running.child.kill('SIGTERM')
  await running.logged('stopping: running transfers may end')
  await t.rejects(ask(listen, 'GET', '/v2/'), { code: 'ECONNREFUSED' })
  wire.socket.resume()
  t.ok((await wire.answer()).body.equals(bytes))
  t.equal((await running.end()).code, 0)
  t.match(running.lines.at(-1), { clean: true })
})

test('serve: SIGTERM lets a running push end', async t => {
  const { running, listen, root } = await serve(t)
  const wire = await Wire.dial(t, listen)
  const digest = digestOf('123456')
  wire.head(`POST /v2/a/blobs/uploads/?digest=${digest}`, ['Content-Length: 6', 'Expect: 100-continue'])
  t.equal((await wire.answer('head')).status, 100)
  running.child.kill('SIGTERM')
  await running.logged('stopping: running transfers may end')
  await wire.send('123456')
  t.equal((await wire.answer()).status, 201)
  t.equal((await running.end()).code, 0)
  const again = await serve(t, { root })
  t.equal((await ask(again.listen, 'GET', `/v2/a/blobs/${digest}`)).body.toString(), '123456')
})

test('serve: a second signal ends it at once', async t => {
  const { running, listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  wire.head(`POST /v2/a/blobs/uploads/?digest=${digestOf('123456')}`, ['Content-Length: 6', 'Expect: 100-continue'])
  t.equal((await wire.answer('head')).status, 100)
  running.child.kill('SIGTERM')
  await running.logged('stopping: running transfers may end')
  running.child.kill('SIGTERM')
  t.equal((await running.end()).code, 1)
})

test('serve: a second process on the same root is refused with a line that names the root and the owner', async t => {
  const { running, root, listen } = await serve(t)
  const { code, err } = await run(t, 'serve', '--config', configFile(t, { root }).file)
  t.equal(code, 1)
  t.equal(err.trimEnd().split('\n').length, 1)
  t.match(err, root)
  t.match(err, `pid ${running.child.pid} `)
  t.equal((await ask(listen, 'GET', '/v2/')).status, 200, 'the first one serves')
})

test('serve: after kill -9 the next process takes the root over', async t => {
  const { running, root } = await serve(t)
  running.child.kill('SIGKILL')
  await running.end()
  const again = await serve(t, { root })
  t.equal((await ask(again.listen, 'GET', '/v2/')).status, 200)
})

test('serve: a port that is taken is exit code 1 and a line', async t => {
  const { listen } = await serve(t)
  t.match(await run(t, 'serve', '--config', configFile(t, { listen }).file), { code: 1, err: /EADDRINUSE/ })
})

const skip = process.getuid?.() === 0 ? false : 'only root can start a process of another uid'
const stranger = 54_321

test('serve: a root that cannot be written names the uid, the owner and the command that mends it', { skip }, async t => {
  const place = folder(t)
  chmodSync(place, 0o755)
  const root = join(place, 'root')
  mkdirSync(root, { mode: 0o755 })
  const file = join(place, 'registry.yaml')
  writeFileSync(
    file,
    stringify({ server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }, storage: { ...unbounded, filesystem: { root } } })
  )
  const { code, err } = await new Program(t, ['serve', '--config', file], { uid: stranger, cwd: '/' }).end()
  t.equal(code, 1)
  t.match(err, `this process runs as uid ${stranger}`)
  t.match(err, 'belongs to uid 0')
  t.match(err, new RegExp(`chown -R ${stranger}:\\d+ ${root}`))
  t.equal(err.split('\n').filter(line => line.includes(root)).length, 1, 'in one line')
})

test('serve: a standard output that was closed does not end the registry', async t => {
  const { running, listen } = await serve(t)
  running.child.stdout?.destroy()
  for (let round = 0; round < 30; round++) await ask(listen, 'GET', '/v2/')
  await new Promise(resolve => setTimeout(resolve, 700))
  t.equal((await ask(listen, 'GET', '/v2/')).status, 200)
})

test('the reader of a pipe that leaves ends a command quietly, with the exit code that SIGPIPE gives', async t => {
  const { file, root } = configFile(t)
  mkdirSync(root)
  for (const args of [
    ['config', 'schema'],
    ['du', '--config', file],
    ['containerd', 'hosts'],
    ['status', '--config', file]
  ]) {
    const child = new Program(t, args)
    // Before a byte comes.
    child.child.stdout?.destroy()
    t.match(await child.end(), { code: 141, err: '' }, args.join(' '))
  }
})
