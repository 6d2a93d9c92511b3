// The report: clients sent the password with each request. Where the registry issues tokens, all that know the
// protocol send it to the endpoint of tokens alone, also where pulls need none; Basic still works for the others.
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { clients, putToWork } from './clients.ts'
import { must, run } from './command.ts'
import { containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSample, makeSingle } from './image.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import { type Product, startProduct } from './registry.ts'
import { ask } from './request.ts'
import { skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

const right = { user: 'rw', password: users.rw.password }
const wrong = { user: 'rw', password: 'guessed' }
const refusal = /unauthorized|authentication required|invalid username\/password|incorrect username or password|credential|denied|401/i
const rw = `rw:${users.rw.password}`

async function startIssuing(t: Test, more: { anonymous?: readonly string[]; pki?: Awaited<ReturnType<typeof makePki>> } = {}) {
  return await startProduct(t, { root: await temporaryFolder(t), users, tokens: true, ...more })
}

/** Requests by how they were authenticated. */
async function outcomes({ admin }: Product): Promise<{ token: number; password: number; issued: number }> {
  const text = (await ask({ address: admin }, { path: '/metrics' })).body.toString()
  const sum = (pattern: RegExp) => [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0)
  return {
    token: sum(/^registry_authentications_total\{outcome="token"\} (\d+)$/gm),
    password: sum(/^registry_authentications_total\{outcome="(?:ok|cached)"\} (\d+)$/gm),
    issued: sum(/^registry_http_requests_total\{(?=[^}]*route="token")(?=[^}]*code="200")[^}]*\} (\d+)$/gm)
  }
}

for (const anonymous of [[], ['pull']]) {
  const situation = anonymous.length > 0 ? 'where pulls are open' : 'where pulls need a password'
  for (const client of clients) {
    test(`${client.title}: ${situation}, it logs in, pushes and pulls with tokens, and a wrong password is refused`, async t => {
      if ((client.needsRoot && !isRoot(t)) || !hasTools(t, client.command)) return
      const registry = await startIssuing(t, { anonymous })
      const { place, succeeds, isRefused } = await putToWork(t, client, registry.address, refusal)
      await isRefused('a push without credentials', client.push(place, 'team/image:v1'))
      if (client.triesPassword) await isRefused('a login with a wrong password', client.login(place, wrong))
      await succeeds('a login', client.login(place, right))
      await succeeds('a push', client.push(place, 'team/image:v1'))
      const { token, password, issued } = await outcomes(registry)
      if (client.title !== 'regctl') {
        t.ok(token > 0, 'requests with a token')
        // Where pulls are open, some tokens are issued without a password.
        t.ok(anonymous.length > 0 ? password <= issued : password === issued, `${password} passwords for ${issued} tokens`)
      }
      if (anonymous.length > 0) await succeeds('a logout', client.logout(place))
      await succeeds('a pull', client.pull(place, 'team/image:v1'))
    })
  }
}

for (const anonymous of [[], ['pull']]) {
  // Without an engine, docker's command line logs in and pushes manifest lists by itself, with the same code.
  test(`docker: it logs in and pushes with tokens, anonymous rights: ${anonymous.join() || 'none'}`, async t => {
    if (!hasTools(t, 'skopeo', 'docker')) return
    const registry = await startIssuing(t, { anonymous })
    const folder = await temporaryFolder(t)
    const { layout } = await makeSingle(join(folder, 'made'))
    const image = `${registry.address}/team/image:v1`
    await skopeo(['copy', '--dest-tls-verify=false', '--dest-creds', rw, `oci:${layout.folder}:image`, `docker://${image}`])
    const env = { HOME: folder, DOCKER_CONFIG: folder, DOCKER_HOST: `unix://${folder}/none.sock` }
    const docker = (...args: string[]) => run('docker', args, { env })
    const login = (password: string) => docker('login', '-u', 'rw', '-p', password, registry.address)
    t.not((await login('guessed')).code, 0, 'a wrong password')
    const before = await outcomes(registry)
    t.match(await login(users.rw.password), { code: 0 }, 'the right password')
    const list = `${registry.address}/team/image:list`
    t.match(await docker('manifest', 'create', '--insecure', list, image), { code: 0 })
    t.match(await docker('manifest', 'push', '--insecure', list), { code: 0 })
    const after = await outcomes(registry)
    t.ok(after.token > before.token, 'requests with a token')
    t.ok(after.password <= after.issued, `${after.password} passwords for ${after.issued} tokens`)
    t.match(await docker('logout', registry.address), { code: 0 })
    const pulled = await docker('manifest', 'inspect', '--insecure', image)
    t.equal(pulled.code === 0, anonymous.length > 0, pulled.stderr)
  })
}

for (const version of [containerd1, containerd2]) {
  test(`${version.title}: ctr pulls over TLS with tokens, with the right password alone`, async t => {
    if (!isRoot(t) || !hasTools(t, 'skopeo', 'openssl', version.daemon, version.client)) return
    const folder = await temporaryFolder(t)
    const registry = await startIssuing(t, { pki: await makePki(folder) })
    const { layout, index } = await makeSample(join(folder, 'made'))
    const target = `docker://${registry.address}/system/deckhouse:v1`
    await skopeo([
      'copy',
      '--all',
      '--preserve-digests',
      '--dest-tls-verify=false',
      '--dest-creds',
      rw,
      `oci:${layout.folder}:index`,
      target
    ])
    const before = await outcomes(registry)
    const { socket, hosts } = await startContainerd(t, version, registry)
    const pull = ['images', 'pull', '--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64']
    const ctr = (...args: string[]) => run(version.client, ['--address', socket, ...args])
    const reference = `${host}/system/deckhouse:v1`
    t.not((await ctr(...pull, '--user', 'ro:guessed', reference)).code, 0, 'a wrong password')
    await must(version.client, ['--address', socket, ...pull, '--user', `ro:${users.ro.password}`, reference])
    t.match((await ctr('images', 'ls')).stdout, index.digest)
    const after = await outcomes(registry)
    t.ok(after.token > before.token, 'requests with a token')
    t.ok(after.password <= after.issued, `${after.password} passwords for ${after.issued} tokens`)
  })
}
