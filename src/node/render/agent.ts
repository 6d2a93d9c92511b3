import { stringify } from 'yaml'
import { pullUser } from '../../../config/node/rules.ts'
import type { Wanted } from '../../../config/node/wanted.ts'
import { formatAddress } from '../../../config/values/units.ts'
import { addresses, agentUser, type NodeFile, places, podFile } from '../layout.ts'
import { upstreamFiles } from './upstream.ts'

const note = '# Written by registry node: the next apply overwrites changes.\n'

const clientPassword = `${places.agent}/client-password`
const registryPassword = `${places.agent}/registry-password`

/** What the agent is told besides the wanted state. */
export interface AgentMaterial {
  /** The password by which containerd of this node asks the agent. */
  clientPassword: string
  /** The authorities of the replicas, in PEM. */
  registryCa: string
}

/** The configuration of the agent, and the secrets and authorities that it names. */
export function renderAgent(wanted: Wanted, { clientPassword: password, registryCa }: AgentMaterial): NodeFile[] {
  const { settings, files } = wanted.mode === 'Direct' ? upstreamPool(wanted) : replicaPool(wanted, registryCa)
  const configuration = {
    agent: {
      listen: addresses.agent,
      admin: addresses.agentAdmin,
      tls: { certificate: `/${places.agentPki}/agent.crt`, key: `/${places.agentPki}/agent.key` },
      clients: { username: agentUser, passwordFile: `/${clientPassword}` },
      routes: [{ names: [addresses.name], pools: [settings] }]
    }
  }
  return [
    podFile(clientPassword, 'configuration', `${password}\n`),
    ...files,
    podFile(`${places.agent}/agent.yaml`, 'configuration', note + stringify(configuration, { lineWidth: 0 }))
  ]
}

/** The replicas as `host:port`, that of this node first. */
export function replicaAddresses({ node, replicas }: Pick<Wanted, 'node' | 'replicas'>): { address: string; local: boolean }[] {
  const all = replicas.map(({ name, address }) => ({
    address: formatAddress({ host: address, port: addresses.registryPort }),
    local: name === node.name
  }))
  return [...all.filter(({ local }) => local), ...all.filter(({ local }) => !local)]
}

function replicaPool(wanted: Wanted, registryCa: string): { settings: object; files: NodeFile[] } {
  const ca = `${places.agentPki}/registry-ca.crt`
  return {
    settings: {
      replicas: replicaAddresses(wanted).map(({ address, local }) => ({ address, ...(local ? { local } : {}) })),
      scheme: 'HTTPS',
      caFile: `/${ca}`,
      username: pullUser,
      passwordFile: `/${registryPassword}`
    },
    files: [podFile(ca, 'trust', registryCa), podFile(registryPassword, 'configuration', `${wanted.users[pullUser]?.password}\n`)]
  }
}

function upstreamPool({ direct }: Wanted): { settings: object; files: NodeFile[] } {
  if (!direct) throw new Error('direct: expected in mode Direct')
  const { settings, files } = upstreamFiles(direct, places.agent)
  const { checkMode: _, ...pool } = settings
  return { settings: pool, files }
}
