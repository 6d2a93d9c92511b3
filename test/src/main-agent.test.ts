import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { certificate } from '../support/certificate.ts'
import { program } from '../support/program.ts'
import { startUpstream } from '../support/upstream.ts'
import { folder, type Line, until } from './support.ts'

// The agent as a process: what a static pod starts, signals and ends.

interface Running {
  child: ChildProcess
  lines: Line[]
  stderr: () => string
  ready: Promise<Line>
}

function run(t: Test, ...args: string[]): Running {
  const env = { PATH: process.env['PATH'], HOME: '/' }
  const child = spawn(process.execPath, [...program, 'agent', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: Line[] = []
  let stderr = ''
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  const ready = new Promise<Line>((resolve, reject) => {
    createInterface(child.stdout).on('line', text => {
      const line = JSON.parse(text) as Line
      lines.push(line)
      if (line.msg === 'the agent is ready') resolve(line)
    })
    child.once('close', code => reject(new Error(`it ended with ${code}: ${stderr}`)))
  })
  ready.catch(() => {})
  return { child, lines, stderr: () => stderr, ready }
}

const name = 'system/deckhouse/app'

test('agent: TLS on both sides, SIGHUP takes a change, SIGTERM ends it with 0 when what runs has ended', async t => {
  const tls = certificate(t)
  const content = await startUpstream(t, { tls })
  const image = content.addImage(name, 'v1')
  const place = folder(t)
  for (const [file, text] of Object.entries({ 'ca.crt': tls.cert, 'tls.crt': tls.cert, 'tls.key': tls.key, password: 'first\n' }))
    writeFileSync(join(place, file), text)
  const file = join(place, 'agent.yaml')
  const write = (drain: string) =>
    writeFileSync(
      file,
      stringify({
        agent: {
          listen: '127.0.0.1:0',
          admin: '127.0.0.1:0',
          drain,
          tls: { certificate: 'tls.crt', key: 'tls.key' },
          clients: { username: 'node', passwordFile: 'password' },
          routes: [{ names: ['registry.test:5001'], pools: [{ replicas: [{ address: new URL(content.url).host }], caFile: 'ca.crt' }] }]
        }
      })
    )
  write('25s')
  const { child, lines, ready } = run(t, '--config', file)
  const { listen, tls: speaksTls, routes } = (await ready) as Line & { listen: string; tls: boolean; routes: string[] }
  t.same([speaksTls, routes], [true, ['registry.test:5001']])
  const digestBy = (password: string) =>
    new Promise<unknown>((resolve, reject) => {
      const [host, port] = listen.split(':')
      const auth = `node:${password}`
      const path = `/v2/${name}/manifests/v1?ns=registry.test:5001`
      const asking = request({ host, port, path, auth, ca: tls.cert, agent: false, method: 'HEAD' }, answer => {
        answer.resume()
        resolve(answer.headers['docker-content-digest'] ?? answer.statusCode)
      })
      asking.on('error', reject).end()
    })
  t.equal(await digestBy('first'), image.digest)
  t.equal(await digestBy('second'), 401)

  writeFileSync(join(place, 'password'), 'second\n')
  child.kill('SIGHUP')
  await until(() => lines.some(line => line.msg === 'the changed configuration is in force'))
  t.match(
    lines.find(line => line.msg === 'the changed configuration is in force'),
    { changed: ['agent.clients.password'] }
  )
  t.equal(await digestBy('second'), image.digest)
  t.equal(await digestBy('first'), 401)
  await until(() => /second/.test(readFileSync(`${file}.last-good`, 'utf8')))

  child.kill('SIGTERM')
  t.same(await once(child, 'close'), [0, null])
  t.match(lines.at(-1), { msg: 'the agent has stopped', clean: true })
})

test('agent: a certificate that another authority signed is no replica', async t => {
  const [own, other] = [certificate(t), certificate(t)]
  const replica = await startUpstream(t, { tls: other })
  replica.addImage(name, 'v1')
  const place = folder(t)
  writeFileSync(join(place, 'ca.crt'), own.cert)
  const file = join(place, 'agent.yaml')
  const pool = { replicas: [{ address: new URL(replica.url).host }], caFile: 'ca.crt' }
  writeFileSync(file, stringify({ agent: { listen: '127.0.0.1:0', admin: '127.0.0.1:0', routes: [{ names: ['a'], pools: [pool] }] } }))
  const { ready } = run(t, '--config', file)
  const { listen } = (await ready) as Line & { listen: string }
  const answer = await fetch(`http://${listen}/v2/${name}/manifests/v1`)
  t.equal(answer.status, 503)
  t.match(await answer.text(), /certificate/i)
})

test('agent: without --config, or with a file that cannot be used, exit code 2 and one line per fault', async t => {
  const without = run(t)
  await once(without.child, 'close')
  t.equal(without.child.exitCode, 2)
  t.match(without.stderr(), /--config <file>/)
  const file = join(folder(t), 'agent.yaml')
  writeFileSync(file, stringify({ agent: { listen: '0.0.0.0:5001', routes: [{ names: ['a'], pools: [{ replicas: [] }] }] } }))
  const broken = run(t, '--config', file)
  await once(broken.child, 'close')
  t.equal(broken.child.exitCode, 2)
  t.match(
    broken.stderr(),
    new RegExp(`^${file}:\\d+: agent\\.routes\\[0\\]\\.pools\\[0\\]\\.replicas: expected a list of at least one replica[^\\n]*\\n$`)
  )
})
