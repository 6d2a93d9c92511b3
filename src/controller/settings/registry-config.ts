import { readRegistry } from './module-config.ts'
import type { WantedCluster } from './params.ts'

/**
 * Reads the Secret `registry-config`, in which Deckhouse hands its validated settings to the module: keys mode,
 * imagesRepo, scheme, ca, username, password, checkMode, ttl. `data` is decoded.
 */
export function readRegistryConfig(data: Readonly<Record<string, string>>, generation: number): WantedCluster {
  const { mode = 'Unmanaged', imagesRepo, scheme, ca, username, password, checkMode, ttl } = data
  const name = { Direct: 'direct', Proxy: 'proxy', Unmanaged: 'unmanaged' }[mode]
  const given = { imagesRepo, ca, username, password, checkMode, ttl, scheme: scheme?.toUpperCase() }
  const section = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== ''))
  const configurable = name !== undefined && (mode !== 'Unmanaged' || Boolean(imagesRepo))
  return { generation, ...readRegistry({ mode, ...(configurable ? { [name]: section } : {}) }) }
}
