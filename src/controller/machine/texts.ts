import { shortened } from '../objects/hash.ts'

// Deckhouse's registry module says it in these words, final line breaks included; scripts search for them.

const maxNodes = 10
const applying = 'Applying configuration to nodes\n'

function listed(lines: readonly string[]): string {
  const shown = lines.slice(0, maxNodes).map(line => `- ${line}\n`)
  const rest = lines.length - maxNodes
  return shown.join('') + (rest > 0 ? `\t...and ${rest} more\n` : '')
}

/** Of `ContainerdConfigPreflightReady`. `custom`: by the name of a node, whether it has a configuration of its own. */
export function preflightText(total: number, unready: ReadonlyMap<string, 'custom' | 'unknown'>): string {
  const lines = [...unready]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, what]) =>
      what === 'custom'
        ? `${name}: has custom toml merge containerd configuration`
        : `${name}: unknown containerd configuration, waiting...`
    )
  return `Check current nodes configuration\n${unready.size}/${total} node(s) Unready:\n${listed(lines)}`
}

/** Of the two ContainerdConfig steps: what they wait for before any node is asked. */
export const applyingText = {
  creating: `${applying}Creating Managed configuration...\n`,
  cleaning: `${applying}Cleaning Managed configuration...\n`,
  failed: `${applying}Failed to process Bashible configuration.`
}

/**
 * Of the two ContainerdConfig steps: the nodes that are behind, with their versions. `wanted` undefined: the
 * configuration of the time before this module.
 */
export function behindText(total: number, behind: ReadonlyMap<string, string>, wanted: string | undefined): string {
  const aim = wanted === undefined ? 'Unmanaged' : `"${shortened(wanted)}"`
  const lines = [...behind].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, version]) => `${name}: "${shortened(version)}" → ${aim}`)
  return `${applying}${total - behind.size}/${total} node(s) ready. Waiting:\n${listed(lines)}`
}

/** Of `NodeServicesReady`. `waiting`: by node, what is missing. */
export function servicesText(total: number, waiting: ReadonlyMap<string, string>): string {
  const lines = [...waiting].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, what]) => `- ${name}: ${what}\n`)
  return `${total - waiting.size}/${total} node(s) ready. Waiting:\n${lines.join('')}`
}

/** Of a node in `NodeServicesReady`. */
export const serviceText = {
  node: 'node is not Ready',
  address: 'node has no InternalIP address',
  pod: (version: string) => `services pod(s) is not Ready or config version mismatch (!= "${shortened(version)}")`
}

/** Of `CleanupNodeServices`. */
export function cleanupText(nodes: readonly string[]): string {
  return `Waiting for nodes cleanup:\n${[...nodes]
    .sort()
    .map(name => `- ${name}\n`)
    .join('')}`
}

/** Of `InClusterProxyReady` and `CleanupInClusterProxy`. */
export const proxyText = {
  deploying: 'Deploying incluster-proxy...',
  mismatch: (current: string, expected: string) =>
    `Incluster-proxy deployment version mismatch: current ${shortened(current)}, expected ${shortened(expected)}.`,
  progress: (message: string) => `Incluster-proxy deploying in progress: ${message}.`,
  stopping: 'Stopping incluster-proxy...'
}

/** Of `DeckhouseRegistrySwitchReady`, in the order in which they are tested. */
export const switchText = {
  secret: 'Updating registry for deckhouse components',
  version: 'Applying new registry to deckhouse-controller',
  ready: 'Waiting for deckhouse-controller to become ready'
}
