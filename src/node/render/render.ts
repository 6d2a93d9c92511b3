import { usesAgent } from '../../../config/node/rules.ts'
import type { Wanted } from '../../../config/node/wanted.ts'
import { type NodeFile, places, podFile, secretFile } from '../layout.ts'
import { type AgentMaterial, renderAgent } from './agent.ts'
import { type HostsMaterial, renderNodeHosts } from './hosts.ts'
import { imageOf, type PodOwner, renderAgentPod, renderRegistryPod } from './pods.ts'
import { renderHtpasswd, renderServe } from './serve.ts'

/** A certificate with its key, in PEM. */
export interface KeyPair {
  certificate: string
  key: string
}

/** What a node has of its own and keeps: keys, passwords and their bcrypt strings. */
export interface Material extends AgentMaterial, Omit<HostsMaterial, 'containerd'> {
  hashes: ReadonlyMap<string, string>
  /** Absent where the node needs none. */
  registry?: KeyPair
  agent?: KeyPair
  /** Authorities that this node made itself, with the keys that never leave it. */
  agentAuthority?: KeyPair
  registryAuthority?: KeyPair
}

/** What was found on the node that files depend on. */
export interface Circumstances {
  /** Relative to the root of the node. */
  configPath: string
  containerd?: string | undefined
  /** The root of the replica's storage, relative to that of the node, and who owns it. */
  data: { path: string; owner: PodOwner }
}

/** Whether the node has a replica. */
export function hasReplica({ mode, node }: Wanted): boolean {
  return mode !== 'Unmanaged' && node.role === 'control-plane'
}

/** Whether the node has an agent. */
export function hasAgent(wanted: Wanted): boolean {
  return wanted.mode !== 'Unmanaged' && usesAgent(wanted)
}

/** Every file that the node should have. */
export function renderNode(wanted: Wanted, material: Material, { configPath, containerd, data }: Circumstances): NodeFile[] {
  return [
    ...(hasReplica(wanted) ? replicaFiles(wanted, material, data) : []),
    ...(hasAgent(wanted) ? agentFiles(wanted, material) : []),
    ...renderNodeHosts(wanted, configPath, { ...material, containerd })
  ]
}

function replicaFiles(
  wanted: Wanted,
  { registry, registryCa, registryAuthority, hashes }: Material,
  data: Circumstances['data']
): NodeFile[] {
  if (!registry) throw new Error('a replica needs a certificate')
  return [
    ...(registryAuthority ? authorityFiles('registry-ca', registryAuthority) : []),
    podFile(`${places.registryPki}/ca.crt`, 'trust', registryCa),
    podFile(`${places.registryPki}/distribution.crt`, 'pki', registry.certificate),
    podFile(`${places.registryPki}/distribution.key`, 'pki', registry.key),
    renderHtpasswd(wanted, hashes),
    ...renderServe(wanted, data.path),
    renderRegistryPod(imageOf(wanted), data.owner)
  ]
}

function agentFiles(wanted: Wanted, material: Material): NodeFile[] {
  const { agent, agentAuthority } = material
  if (!agent || !agentAuthority) throw new Error('an agent needs a certificate')
  return [
    ...authorityFiles('agent-ca', agentAuthority),
    podFile(`${places.agentPki}/agent.crt`, 'pki', agent.certificate),
    podFile(`${places.agentPki}/agent.key`, 'pki', agent.key),
    ...renderAgent(wanted, material),
    renderAgentPod(imageOf(wanted))
  ]
}

// No pod reads these.
function authorityFiles(name: string, { certificate, key }: KeyPair): NodeFile[] {
  return [secretFile(`${places.state}/${name}.key`, 'trust', key), secretFile(`${places.state}/${name}.crt`, 'trust', certificate)]
}
