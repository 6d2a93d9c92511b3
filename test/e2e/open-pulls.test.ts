// The report: a registry whose pulls are open answered 200 to `GET /v2/` without credentials. skopeo, podman, buildah
// and docker look there once to learn whether a registry takes credentials at all: from then on they sent none, so that
// every push of a user with the right password was refused, and `login` succeeded with a wrong one. Here Basic is all
// that is offered, which docker takes as binding for its pulls too; with tokens (`tokens.test.ts`) it pulls without.
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { clients, putToWork } from './clients.ts'
import { run } from './command.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import { temporaryFolder } from './place.ts'
import { startProduct } from './registry.ts'
import { skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

const right = { user: 'rw', password: users.rw.password }
const wrong = { user: 'rw', password: 'guessed' }

// What the clients make of a 401; oras and helm say of the challenge that they have no credential for it.
const refusal = /unauthorized|authentication required|invalid username\/password|basic credential not found|401/i

async function openPulls(t: Test) {
  return await startProduct(t, { root: await temporaryFolder(t), users, anonymous: ['pull'] })
}

for (const client of clients) {
  test(`${client.title}: where pulls are open, a wrong login is refused, the right one pushes, and a pull needs none`, async t => {
    if ((client.needsRoot && !isRoot(t)) || !hasTools(t, client.command)) return
    const { place, succeeds, isRefused } = await putToWork(t, client, (await openPulls(t)).address, refusal)
    await isRefused('a push without credentials', client.push(place, 'open/image:v1'))
    if (client.triesPassword) await isRefused('a login with a wrong password', client.login(place, wrong))
    else {
      await succeeds('a login that is not tried', client.login(place, wrong))
      await isRefused('a push with a wrong password', client.push(place, 'open/image:v1'))
    }
    await succeeds('a login with the right password', client.login(place, right))
    await succeeds('a push with the right password', client.push(place, 'open/image:v1'))
    await succeeds('a logout', client.logout(place))
    await succeeds('a pull without credentials', client.pull(place, 'open/image:v1'))
    await isRefused('a push without credentials, of what is there', client.push(place, 'open/image:v2'))
  })
}

// Without an engine, docker's command line logs in and pushes manifest lists by itself, with the same code.
test('docker: where pulls are open, a wrong login is refused, and the right one pushes', async t => {
  if (!hasTools(t, 'skopeo', 'docker')) return
  const registry = await openPulls(t)
  const folder = await temporaryFolder(t)
  const { layout } = await makeSingle(join(folder, 'made'))
  const image = `${registry.address}/open/image:v1`
  await skopeo([
    'copy',
    '--dest-tls-verify=false',
    '--dest-creds',
    `rw:${users.rw.password}`,
    `oci:${layout.folder}:image`,
    `docker://${image}`
  ])
  const env = { HOME: folder, DOCKER_CONFIG: folder, DOCKER_HOST: `unix://${folder}/none.sock` }
  const docker = (...args: string[]) => run('docker', args, { env })
  const login = (password: string) => docker('login', '-u', 'rw', '-p', password, registry.address)
  const refused = await login(wrong.password)
  t.not(refused.code, 0, 'a wrong password')
  t.match(refused.stderr, refusal)
  t.equal((await login(right.password)).code, 0, 'the right password')
  const list = `${registry.address}/open/image:list`
  t.match(await docker('manifest', 'create', '--insecure', list, image), { code: 0 })
  t.match(await docker('manifest', 'push', '--insecure', list), { code: 0 })
  t.match(await docker('manifest', 'inspect', '--insecure', image), { code: 0 }, 'and pulls')
})
