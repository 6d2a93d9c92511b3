// What is written on a node, file by file. After an intended change: REGISTRY_GOLDEN=write, and read the difference.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parse as parseToml } from 'smol-toml'
import { test } from 'tap'
import { parse as parseYaml } from 'yaml'
import { loadAgentConfig } from '../../../config/agent/load.ts'
import { loadConfig } from '../../../config/load.ts'
import { parseHtpasswd } from '../../../src/access/htpasswd.ts'
import type { NodeFile } from '../../../src/node/layout.ts'
import { makeAuthority } from '../../../src/node/pki/issue.ts'
import { ownPodUser } from '../../../src/node/render/pods.ts'
import { type Material, renderNode } from '../../../src/node/render/render.ts'
import { authority, direct, local, now, proxy, rootOf, unmanaged, wantedOf, worker } from './scene.ts'

const folder = join(import.meta.dirname, 'golden')
const agentAuthority = await makeAuthority('registry-agent-ca', now)
const hash = `$2b$10$${'h'.repeat(53)}`
const material: Material = {
  clientPassword: 'password-of-the-node',
  registryCa: authority.certificate,
  agentCa: agentAuthority.certificate,
  hashes: new Map([
    ['ro', hash],
    ['rw', hash]
  ]),
  registry: { certificate: '(certificate of the replica)\n', key: '(key of the replica)\n' },
  agent: { certificate: '(certificate of the agent)\n', key: '(key of the agent)\n' },
  agentAuthority: { certificate: agentAuthority.certificate, key: '(key of the authority)\n' }
}

const cases: Record<string, { wanted: object; containerd: string | undefined }> = {
  'local-control-plane': { wanted: local, containerd: '1.6.20' },
  'proxy-control-plane': { wanted: proxy, containerd: '1.7.27' },
  'direct-control-plane': { wanted: direct, containerd: '2.1.4' },
  'local-worker': { wanted: worker, containerd: '2.1.4' },
  'direct-worker': { wanted: { ...worker, mode: 'Direct', direct: direct.direct, replicas: [] }, containerd: '1.7.27' },
  'direct-worker-rewrite': { wanted: { ...worker, mode: 'Direct', direct: direct.direct, rewrite: 'containerd' }, containerd: '1.7.27' },
  'hosts-worker-1.6': { wanted: { ...worker, balancer: 'hosts' }, containerd: '1.6.20' },
  'hosts-worker-2.1': { wanted: { ...worker, balancer: 'hosts' }, containerd: '2.1.4' },
  'hosts-control-plane-1.7': { wanted: { ...local, balancer: 'hosts' }, containerd: '1.7.27' },
  unmanaged: { wanted: unmanaged, containerd: undefined }
}

function render(wanted: object, containerd: string | undefined): NodeFile[] {
  const data = { path: 'opt/deckhouse/registry', owner: ownPodUser }
  return renderNode(wantedOf(wanted), material, { configPath: 'etc/containerd/registry.d', containerd, data })
}

// Certificates are made anew for each run.
function printed(files: readonly NodeFile[]): string {
  const text = files.map(({ path, mode, gid, text }) => `== /${path} ${mode.toString(8)} ${gid}\n${text}`).join('')
  return text
    .replaceAll(authority.certificate, '(authority of the replicas)\n')
    .replaceAll(agentAuthority.certificate, '(authority of the agent)\n')
}

for (const [name, { wanted, containerd }] of Object.entries(cases)) {
  test(`node: the files of ${name} are as they were read once`, async t => {
    const file = join(folder, `${name}.txt`)
    const text = printed(render(wanted, containerd))
    if (process.env['REGISTRY_GOLDEN'] === 'write') writeFileSync(file, text)
    t.equal(text, existsSync(file) ? readFileSync(file, 'utf8') : '')
  })

  test(`node: whatever reads the files of ${name} can read them`, async t => {
    const root = await rootOf(t)
    const files = render(wanted, containerd)
    for (const { path, text } of files) {
      await mkdir(dirname(join(root, path)), { recursive: true })
      // The absolute paths lie on the node.
      await writeFile(join(root, path), text.replaceAll('/etc/kubernetes/', `${root}/etc/kubernetes/`))
    }
    for (const { path, text } of files) {
      if (path.endsWith('serve.yaml')) {
        const config = loadConfig({ file: join(root, path), env: {} })
        t.equal(config.registry.mode, wantedOf(wanted).mode)
        t.same(config.server.listen, { host: '10.0.0.1', port: 5001 })
        t.same({ ...config.auth.users?.roles }, { ro: ['pull'], rw: ['pull', 'push', 'delete'] })
        const { upstream } = config.registry
        t.same(
          upstream?.credentials,
          config.registry.mode === 'Local' ? undefined : { username: 'license-token', password: direct.direct.license }
        )
      } else if (path.endsWith('agent.yaml')) {
        const { agent } = loadAgentConfig(join(root, path), { env: {} })
        t.same(agent.listen, { host: '127.0.0.1', port: 5001 })
        t.match(agent.clients, { username: 'node', password: material.clientPassword })
        const [pool] = agent.routes[0]?.pools ?? []
        const { mode, replicas } = wantedOf(wanted)
        t.equal(pool?.replicas?.length, mode === 'Direct' ? undefined : replicas.length)
        t.match(pool, mode === 'Direct' ? { license: direct.direct.license } : { username: 'ro', password: 'password-of-ro' })
      } else if (path.endsWith('htpasswd'))
        t.same(
          parseHtpasswd(text).map(({ user }) => user),
          ['ro', 'rw']
        )
      else if (path.endsWith('.toml')) t.type(parseToml(text)['host'], 'object')
      else if (path.includes('/manifests/')) {
        const { spec } = parseYaml(text)
        for (const { hostPath } of spec.volumes)
          t.ok(/^\/(opt|var)\//.test(hostPath.path) || existsSync(join(root, hostPath.path)), hostPath.path)
        const [{ args }] = spec.containers
        t.ok(existsSync(join(root, args[2])), 'its configuration is written too')
      }
    }
    t.ok(files.length > 0)
  })
}

test('node: a change of the mode changes no manifest and nothing that containerd reads', async t => {
  const texts = (wanted: object) =>
    new Map(
      render(wanted, '2.1.4').flatMap(({ path, phase, text }) =>
        phase === 'manifest' || path.startsWith('etc/containerd') ? [[path, text]] : []
      )
    )
  t.equal(texts(local).size, 4)
  t.same(texts(proxy), texts(local))
  t.same(texts(direct), texts(local))
})

test('node: no secret is in a file that every user of the node may read', async t => {
  const secrets = ['password-of', 'license-of', 'PRIVATE KEY', '(key', hash]
  for (const { wanted, containerd } of Object.values(cases)) {
    const open = render(wanted, containerd).filter(({ mode }) => (mode & 0o004) !== 0)
    t.same(
      open.filter(({ text }) => secrets.some(secret => text.includes(secret))).map(({ path }) => path),
      []
    )
  }
})
