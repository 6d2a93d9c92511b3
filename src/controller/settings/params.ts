import type { CheckMode } from '../../../config/sections/registry.ts'

/** The modes of a cluster; in Unmanaged it goes without this registry. */
export type ClusterMode = 'Direct' | 'Proxy' | 'Local' | 'Unmanaged'

/** A registry outside the cluster, as the ModuleConfig names it. */
export interface UpstreamParams {
  /** `host[:port][/path]`, without a final slash. */
  imagesRepo: string
  scheme: 'http' | 'https'
  /** Empty, with the password: anonymous. */
  username: string
  password: string
  /** Authorities in PEM. */
  ca?: string
}

/**
 * What `spec.settings.registry` asks for. `upstream` is there in Direct and Proxy, and in Unmanaged if it is
 * configurable (its section is given).
 */
export interface ClusterParams {
  mode: ClusterMode
  upstream?: UpstreamParams
  checkMode: CheckMode
  /** Of Proxy, as written: `168h`. */
  ttl?: string
}

/** The settings as read: what they ask for, or one line per fault. `generation` is that of the object. */
export type WantedCluster = { generation: number } & ({ params: ClusterParams } | { faults: readonly string[] })

/** Parts of `host[:port][/path]`: the path with its first slash, or empty. */
export function splitImagesRepo(imagesRepo: string): { address: string; path: string } {
  const slash = imagesRepo.indexOf('/')
  return slash === -1 ? { address: imagesRepo, path: '' } : { address: imagesRepo.slice(0, slash), path: imagesRepo.slice(slash) }
}
