/** Where the files of a node are, relative to its root: the places of the original, where its tools find them. */
export const places = {
  /** Configuration of the replica; mounted into its pod. */
  registry: 'etc/kubernetes/registry',
  registryPki: 'etc/kubernetes/registry/pki',
  /** Configuration of the agent; mounted into its pod. */
  agent: 'etc/kubernetes/registry-proxy',
  agentPki: 'etc/kubernetes/registry-proxy/pki',
  manifests: 'etc/kubernetes/manifests',
  containerd: 'etc/containerd',
  containerdConfig: 'etc/containerd/config.toml',
  /** containerd's `config_path` where it has none. */
  hosts: 'etc/containerd/registry.d',
  /** The content of the replica. */
  data: 'opt/deckhouse/registry',
  /** The record of what is owned, the files that were replaced, and the keys of authorities that this node made. */
  state: 'var/lib/registry-node',
  /** Where the agent keeps its last good configuration. */
  agentState: 'var/lib/registry-node/agent',
  /** The lock of a running apply; gone after a reboot. */
  run: 'run/registry-node'
} as const

/** The static pods, each with the namespace and the manifest of the original's. */
export const pods = { registry: 'registry-nodeservices', agent: 'registry-proxy' } as const

/** The user and group of the pods, as the image has it. */
export const podUser = 64535

/** The addresses that are the same on every node. */
export const addresses = {
  /** The port of a replica, on the address of its node. */
  registryPort: 5001,
  registryAdmin: '127.0.0.1:5002',
  agent: '127.0.0.1:5001',
  agentAdmin: '127.0.0.1:5003',
  /** The registry in the references of pods. */
  name: 'registry.d8-system.svc:5001'
} as const

/** The user by whom containerd asks the agent. */
export const agentUser = 'node'

/**
 * When a file is written; it is removed in the reverse order. Each phase needs those before it, and containerd needs
 * the last one alone.
 */
export const phases = ['trust', 'pki', 'configuration', 'manifest', 'hosts'] as const

/** One of the phases. */
export type Phase = (typeof phases)[number]

/** A file that a node should have. */
export interface NodeFile {
  /** Relative to the root of the node. */
  path: string
  phase: Phase
  text: string
  mode: number
  /** Its group, where the pods have to read it; root's otherwise. */
  gid: number
}

/** A file that the pods read, and users other than root do not. */
export const podFile = (path: string, phase: Phase, text: string): NodeFile => ({ path, phase, text, mode: 0o640, gid: podUser })

/** A file that every user of the node may read. */
export const publicFile = (path: string, phase: Phase, text: string): NodeFile => ({ path, phase, text, mode: 0o644, gid: 0 })

/** A file that root alone reads. */
export const secretFile = (path: string, phase: Phase, text: string): NodeFile => ({ path, phase, text, mode: 0o600, gid: 0 })
