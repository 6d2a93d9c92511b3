/** The names of Deckhouse's registry module, which people, scripts and its other parts use. */
export const names = {
  namespace: 'd8-system',
  host: 'registry.d8-system.svc:5001',
  path: '/system/deckhouse',
  /** What the mirrors of Direct replace with the path of the upstream. */
  pathRegexp: '^system/deckhouse',
  proxyHost: '127.0.0.1:5001',
  port: 5001,
  service: 'registry',
  inClusterProxy: 'registry-incluster-proxy',
  secrets: {
    config: 'registry-config',
    state: 'registry-state',
    bashible: 'registry-bashible-config',
    pki: 'registry-pki',
    userPrefix: 'registry-user-',
    nodePrefix: 'registry-node-config-',
    inClusterProxy: 'registry-incluster-proxy-config',
    deckhouse: 'deckhouse-registry'
  },
  requiredImages: 'registry-required-images',
  annotations: {
    /** Of a Node: the version of `registry-bashible-config` that it has applied. */
    version: 'registry.deckhouse.io/version',
    configHash: 'registry.deckhouse.io/config-hash',
    /** Of the static pod: the version of `registry-node-config-<node>` that it runs with. */
    configVersion: 'registry.deckhouse.io/config-version',
    /** Of a Node: the same, where a changed configuration is reloaded and the pod stays. */
    servicesVersion: 'registry.deckhouse.io/services-version'
  },
  /** Of a Node: `default`, or `custom` where files in conf.d configure registries. */
  containerdLabel: 'node.deckhouse.io/containerd-config-registry'
} as const

/** The version of a node that has reported none. */
export const unknownVersion = 'unknown'

/** `host:port`, an IPv6 address in brackets. */
export function endpointOf(address: string): string {
  return `${address.includes(':') ? `[${address}]` : address}:${names.port}`
}
