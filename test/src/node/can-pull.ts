import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse as parseToml } from 'smol-toml'
import { parse as parseYaml } from 'yaml'

const podGroup = 64535

/**
 * Why the node below `root` could not pull by what containerd would read there at this moment; undefined if it could:
 * either there is no hosts.toml of the registry, so that containerd goes its usual way, or all that it leads to is there.
 */
export function brokenBy(root: string): string | undefined {
  const file = join(root, 'etc/containerd/registry.d/registry.d8-system.svc:5001/hosts.toml')
  if (!existsSync(file)) return undefined
  const toml = parseToml(readFileSync(file, 'utf8')) as { server: string; ca: string[]; header: { Authorization: string } }
  const cas = toml.ca.map(name => join(dirname(file), name))
  const missing = cas.find(each => !existsSync(each))
  // containerd would fail every pull.
  if (missing !== undefined) return `${missing} is missing`
  return toml.server === 'https://127.0.0.1:5001' ? brokenAgent(root, cas, toml.header.Authorization) : undefined
}

function brokenAgent(root: string, cas: readonly string[], authorization: string): string | undefined {
  const pod = join(root, 'etc/kubernetes/manifests/registry-proxy.yaml')
  if (!existsSync(pod)) return 'containerd asks the agent, and there is none'
  const { spec } = parseYaml(readFileSync(pod, 'utf8'))
  const configuration = join(root, spec.containers[0].args[2])
  if (!existsSync(configuration)) return 'the agent has no configuration'
  const { agent } = parseYaml(readFileSync(configuration, 'utf8'))
  const [pool] = agent.routes[0].pools
  const read = [agent.tls.certificate, agent.tls.key, agent.clients.passwordFile, pool.caFile, pool.passwordFile, pool.licenseFile]
  const files = read.filter(each => each !== undefined).map(each => join(root, each))
  const absent = files.find(each => !existsSync(each))
  if (absent !== undefined) return `the agent reads ${absent}, which is missing`
  const locked = process.geteuid?.() === 0 ? files.find(each => statSync(each).gid !== podGroup) : undefined
  if (locked !== undefined) return `the agent cannot read ${locked}`
  const certificate = new X509Certificate(readFileSync(join(root, agent.tls.certificate)))
  const trusted = cas.some(each => certificate.verify(new X509Certificate(readFileSync(each)).publicKey))
  if (!trusted) return 'containerd does not trust the agent'
  const password = readFileSync(join(root, agent.clients.passwordFile), 'utf8').trim()
  const expected = `Basic ${Buffer.from(`node:${password}`).toString('base64')}`
  return authorization === expected ? undefined : 'the agent refuses the password of containerd'
}
