import { pullUser, usesAgent } from '../../../config/node/rules.ts'
import type { Wanted } from '../../../config/node/wanted.ts'
import { hostsFile, type RenderOptions, renderHosts } from '../../containerd/hosts.ts'
import { hostsOfMode, type Mirror, type RegistryHost } from '../../containerd/mirrors.ts'
import { addresses, agentUser, type NodeFile, type Phase } from '../layout.ts'
import { replicaAddresses } from './agent.ts'

/** What containerd is told besides the wanted state. */
export interface HostsMaterial {
  clientPassword: string
  /** The authorities of the agent on this node, and those of the replicas, in PEM. */
  agentCa: string
  registryCa: string
  /** The version of containerd on this node. */
  containerd?: string | undefined
}

/**
 * The files below containerd's `config_path`, which is `directory`. They do not change with the mode as long as the
 * agent is used.
 */
export function renderNodeHosts(wanted: Wanted, directory: string, material: HostsMaterial): NodeFile[] {
  const patched = wanted.mode === 'Direct' && wanted.rewrite === 'containerd'
  const options: RenderOptions = {
    containerd: patched ? 'deckhouse' : 'stock',
    ...(material.containerd === undefined ? {} : { oldest: material.containerd }),
    // Without the agent a replica that is switched off would cost each request containerd's 30 s.
    dialTimeout: '1s'
  }
  return renderHosts(registryHosts(wanted, material), options).flatMap(({ name, files }) =>
    files.map(file => {
      const phase: Phase = file.name === hostsFile ? 'hosts' : 'trust'
      return { path: `${directory}/${name}/${file.name}`, phase, text: file.text, mode: file.mode, gid: 0 }
    })
  )
}

function registryHosts(wanted: Wanted, material: HostsMaterial): RegistryHost[] {
  const { mode, rewrite, unmanaged, direct } = wanted
  if (mode === 'Unmanaged') return unmanaged ? hostsOfMode({ mode, containerd: 'stock', upstream: unmanaged }) : []
  if (mode === 'Direct' && rewrite === 'containerd' && direct) return hostsOfMode({ mode, containerd: 'deckhouse', upstream: direct })
  return [{ host: addresses.name, mirrors: usesAgent(wanted) ? [agentMirror(material)] : replicaMirrors(wanted, material) }]
}

function agentMirror({ agentCa, clientPassword }: HostsMaterial): Mirror {
  return { host: addresses.agent, scheme: 'https', ca: agentCa, auth: { username: agentUser, password: clientPassword } }
}

function replicaMirrors(wanted: Wanted, { registryCa }: HostsMaterial): Mirror[] {
  const auth = { username: pullUser, password: wanted.users[pullUser]?.password ?? '' }
  return replicaAddresses(wanted).map(({ address }) => ({ host: address, scheme: 'https', ca: registryCa, auth }))
}
